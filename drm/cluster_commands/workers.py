"""``drm workers``: the machines of a coordinator as a table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from drm.cluster_commands.parsing import ended_well, the_coordinator
from drm.command_line import Parser
from drm.engines.ray_engine.tables import Machine, WorkerRow

_HEADINGS = ("worker", "address", "cores", "memory", "gpus", "labels", "reserved", "used", "tests", "heard")


def main(arguments: Sequence[str]) -> int:
    """Run ``drm workers ARGUMENTS``; return the exit code: 0, 4 where there is no coordinator."""
    parser = Parser(prog="drm workers", description="List the machines of the coordinator that runs on this host.")
    parser.add_argument("--coordinator", default=None, metavar="HOST:PORT", help="which one (default: the only one)")
    options = parser.parse_args(arguments)

    def work() -> int:
        state = the_coordinator(options.coordinator)
        for line in table(state.machines(), state.rows(), time.time(), state.draining()):
            print(line)
        return 0

    return ended_well(work)


def table(
    machines: Sequence[Machine], rows: Mapping[str, WorkerRow], now: float, draining: frozenset[str] = frozenset()
) -> list[str]:
    """Return the lines of the table. ``now``: seconds since the epoch."""
    if not machines:
        return ["no machine has joined"]
    cells = [_HEADINGS, *(_cells(machine, rows.get(machine.name), now, draining) for machine in machines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cells(machine: Machine, row: WorkerRow | None, now: float, draining: frozenset[str]) -> tuple[str, ...]:
    heard = f"{max(0.0, now - machine.heard_at):.0f} s ago"
    return (
        machine.name,
        machine.address,
        f"{machine.cpu_cores:g}",
        _size(machine.memory_bytes),
        f"{machine.gpus:g}",
        ",".join(machine.labels) or "-",
        f"{row.reserved_cores:g} cores, {_size(row.reserved_bytes)}" if row else "-",
        f"{row.used_cores:.1f} cores, {_size(row.used_bytes)}" if row else "-",
        f"{row.running}/{row.executors}" if row else "-",
        f"{heard}, leaving" if machine.name in draining else heard,
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
