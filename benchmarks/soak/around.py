"""What surrounds a run of the soak: little memory, small disks, wrong clocks, damaged histories, failing providers.

Each makes its part of the ``Around`` of a run, and undoes it where that is needed when the stack is left.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos_clusters import Heal, Victim
from benchmarks.hosts import small_disk
from benchmarks.memory_limit import MB, memory_cgroup
from benchmarks.soak.inside import PLUGIN, SECONDS
from benchmarks.soak.schedule import Plan

__all__ = ["Around", "Impossible", "damage", "surround"]

_LIMITS = {"fork": 600 * MB, "spawn": 600 * MB, "workers": 1600 * MB}  # a worker has a fourth of it at least
_LITTLE = "500MB"
_DISKS = {"full disk under the reports": "1m", "full disk under temp": "8m", "full disk under the history": "512k"}
_STEP_S = 7200
_CLOCK = Path(__file__).with_name("clock_step.c")


class Impossible(Exception):
    """This cannot be done here; the message says why."""


@dataclass
class Around:
    """``project`` and ``temp``: the run's folders. ``faults``: what can strike by being here. ``needs_history``: the
    suite is to have run before; then ``before`` is called."""

    project: Path
    temp: Path
    environment: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    wrap: Callable[[list[str]], list[str]] = lambda command: command
    faults: dict[str, Callable[[Victim], Heal | None]] = field(default_factory=dict)
    needs_history: bool = False
    before: Callable[[], None] = lambda: None
    notes: list[str] = field(default_factory=list)

    @property
    def history(self) -> Path:
        return self.project / ".drm" / "history.db"


def surround(plan: Plan, around: Around, stack: ExitStack) -> None:
    """Make what surrounds the run; Impossible where this machine does not allow it."""
    for name in plan.surroundings:
        _MAKERS[name](name, plan, around, stack)
    chance = plan.chance("damage")
    around.faults["history damaged amid it"] = lambda _: damage(around.history, chance)


def _cgroup(name: str, plan: Plan, around: Around, stack: ExitStack) -> None:
    try:
        around.wrap = stack.enter_context(memory_cgroup(_LIMITS[plan.mode])).command
    except OSError as error:
        raise Impossible(f"no memory cgroup can be made ({error})") from error


def _little_memory(name: str, plan: Plan, around: Around, stack: ExitStack) -> None:
    around.words.append(f"--drm-memory={_LITTLE}")


def _disk(name: str, plan: Plan, around: Around, stack: ExitStack) -> None:
    folders = {"reports": around.project / "reports", "temp": around.temp, "history": around.history.parent}
    folder = folders[name.rpartition(" ")[2]]
    try:
        stack.enter_context(small_disk(folder, _DISKS[name]))
    except RuntimeError as error:
        raise Impossible(str(error)) from error
    heals = name == "full disk under temp"  # what is told at the end needs none of the others
    around.faults[name] = lambda _: _fill(folder, heals=heals)


def _fill(folder: Path, *, heals: bool) -> Heal | None:
    """Leave no byte free."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return (lambda: filler.unlink(missing_ok=True)) if heals else None


def _clock(name: str, plan: Plan, around: Around, stack: ExitStack) -> None:
    """The time of day of all processes of the run, as a file says; where nothing can be compiled, that of DRM."""
    file, library = around.project / "clock", around.project / "clock.so"
    file.write_bytes(SECONDS.pack(0))
    around.environment["SOAK_CLOCK"] = str(file)
    compiler = shutil.which("cc")
    if compiler is not None:
        made = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(_CLOCK), "-ldl"]
        subprocess.run(made, check=True, capture_output=True)
        around.environment["LD_PRELOAD"] = str(library)
    else:
        around.notes.append("there is no cc: only DRM's own clock and time.time step")
        around.words += ["-p", PLUGIN]
    step_s = -_STEP_S if name == "clock back" else _STEP_S

    def step(_: Victim) -> None:
        with file.open("r+b") as opened:
            opened.write(SECONDS.pack(step_s))

    around.faults[name] = step


def _old_history(name: str, plan: Plan, around: Around, stack: ExitStack) -> None:
    around.needs_history = True
    chance = plan.chance("damage")
    around.before = lambda: damage(around.history, chance, truncates=name == "history truncated")


def damage(history: Path, chance: random.Random, *, truncates: bool | None = None) -> None:
    """Cut the database off somewhere, or overwrite some of its pages; nothing where there is none."""
    with suppress(sqlite3.Error, FileNotFoundError):
        size = history.stat().st_size
        if chance.random() < 0.5 if truncates is None else truncates:
            os.truncate(history, chance.randrange(size) if size else 0)
            return
        with history.open("r+b") as file:
            for _ in range(chance.randint(1, 8)):
                file.seek(chance.randrange(max(1, size)) // 4096 * 4096)
                file.write(chance.randbytes(4096))
            file.truncate(size)


def _provider(name: str, plan: Plan, around: Around, stack: ExitStack) -> None:
    around.environment["SOAK_PROVIDER"] = f"{plan.seed}/{plan.number}"
    around.words += ["-p", PLUGIN]


_MAKERS: Mapping[str, Callable[[str, Plan, Around, ExitStack], None]] = {
    "memory cgroup": _cgroup,
    "little memory": _little_memory,
    **dict.fromkeys(_DISKS, _disk),
    "clock back": _clock,
    "clock forward": _clock,
    "history truncated": _old_history,
    "history garbled": _old_history,
    "provider": _provider,
}
