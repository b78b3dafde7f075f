"""Every figure that is promised, measured one after another on one commit: what, the promise, the figure, the command.

    python -m benchmarks.everything [--data DATA_DIR] [--only WORD ...] [--list] [--output docs/measured.md]

Takes about two hours on two cores; nothing else should run there. What is not a time comes last, two at a time.
``DATA_DIR`` has the folders of the public traces (see their rows); without it those rows say so. A command that fails
leaves its last line in place of a figure. What the output of the same commit has already is not measured again, so
that it can be done in parts. Exit code 1 where a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

from benchmarks.processes import clean_environment
from benchmarks.promises import MEASUREMENTS, Figure, Measurement
from drm.worker.limits import machine_capacity

_TIMEOUT_S = 7200


def parse_json(printed: str) -> Any:
    """Return the document that was printed, or the list of those lines that are JSON."""
    try:
        return json.loads(printed)
    except ValueError:
        return [json.loads(line) for line in printed.splitlines() if line.startswith(("{", "["))]


def measure(measurement: Measurement, data: Path | None) -> tuple[list[tuple[Figure, float | None]], str]:
    """Run the command; return its figures (None where there is none) and why, where it did not come to them."""
    nothing: list[tuple[Figure, float | None]] = [(figure, None) for figure in measurement.figures]
    if measurement.data and (data is None or not (data / measurement.data).exists()):
        return nothing, f"no data: {measurement.data}"
    words = [word.format(data=data, python=sys.executable) for word in measurement.command]
    with tempfile.TemporaryDirectory() as folder:
        environment = clean_environment({"DRM_STAGE_FOLDER": folder})
        try:
            done = subprocess.run(
                [sys.executable, "-m", *words],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                env=environment,
            )
            read = (Path(folder) / measurement.reads).read_text(encoding="utf-8") if measurement.reads else done.stdout
        except subprocess.TimeoutExpired:
            return nothing, f"not done in {_TIMEOUT_S} s"
        except OSError as error:
            return nothing, str(error)
    try:
        told = parse_json(read)
    except ValueError as error:
        return nothing, f"exit code {done.returncode}: {error}"
    figures = [(figure, _found(figure, told)) for figure in measurement.figures]
    return figures, "" if all(value is not None for _, value in figures) else _last_line(done)


def _found(figure: Figure, told: Any) -> float | None:
    try:
        return float(figure.find(told))
    except (ValueError, LookupError, TypeError, StopIteration):
        return None


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
    return f"exit code {done.returncode}: {last[:120]}"


def _shown(measurement: Measurement) -> str:
    return f"python -m {' '.join(measurement.command)}".format(data="DATA_DIR", python="python")


def rows_of(measurement: Measurement, data: Path | None) -> tuple[list[str], bool]:
    """Return the rows of a measurement, and whether all it promises is kept."""
    figures, why_not = measure(measurement, data)
    shown = f"`{_shown(measurement)}`"
    rows, kept = [], True
    for figure, value in figures:
        is_kept = value is not None and figure.is_kept(value)
        kept = kept and is_kept
        said = why_not if value is None else f"{value:.4g} {figure.unit}"
        verdict = "kept" if is_kept else "**not measured**" if value is None else "**not kept**"
        rows.append(f"| {figure.what} | {figure.promise} | {said} | {verdict} | {shown} |")
        shown = "same"
    return rows, kept


def _measured(chosen: Sequence[Measurement], data: Path | None) -> Iterator[tuple[list[str], bool]]:
    """Measure times one after another, then what does not mind what runs beside it."""
    yield from (rows_of(measurement, data) for measurement in chosen if measurement.is_timed)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(rows_of, [each for each in chosen if not each.is_timed], repeat(data))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.everything", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="commands that have one of these in them")
    parser.add_argument("--list", action="store_true", help="show the commands, run none")
    parser.add_argument("--output", type=Path, help="also write the table there")
    options = parser.parse_args(arguments)
    chosen = [m for m in MEASUREMENTS if not options.only or any(word in " ".join(m.command) for word in options.only)]
    if options.list:
        print("\n".join(map(_shown, chosen)))
        return 0
    lines = [*_head(), "| what | promise | measured | | command |", "|---|---|---|---|---|"]
    lines += _measured_before(options.output, lines) if options.output else []
    print("\n".join(lines), flush=True)
    kept = not any("**not kept**" in line for line in lines)
    chosen = [each for each in chosen if not any(line.endswith(f" `{_shown(each)}` |") for line in lines)]
    for rows, are_kept in _measured(chosen, options.data):
        print("\n".join(rows), flush=True)
        lines += rows
        kept = kept and are_kept
        if options.output:
            options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if kept else 1


def _measured_before(table: Path, head: list[str]) -> list[str]:
    """Return the rows of a table that begins as this one, without those of commands that came to nothing."""
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    if list(map(_undated, lines[: len(head)])) != list(map(_undated, head)):
        return []
    commands: list[list[str]] = []
    for line in lines[len(head) :]:
        if line.endswith("| same |"):
            commands[-1].append(line)
        else:
            commands.append([line])
    return [line for rows in commands if not any("**not measured**" in row for row in rows) for line in rows]


def _undated(line: str) -> str:
    """What takes hours may end on another day."""
    return re.sub(r"\d{4}-\d{2}-\d{2}", "", line)


def _head() -> list[str]:
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    capacity = machine_capacity()
    machine = f"{capacity.cpu_cores:g} cores, {capacity.memory_bytes / 2**30:.0f} GiB"
    return [
        "# Measured",
        "",
        f"Commit {commit}, {time.strftime('%Y-%m-%d')}, {machine}, Python {platform.python_version()}. Written by",
        "`python -m benchmarks.everything`; ratios are to a peer that ran in turn with ours on the same machine.",
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
