"""A suite that fits a small machine only one large test at a time: serial pytest, pytest-xdist and DRM in turn.

    python -m benchmarks.memory_limit --rounds 3

68 tests in 10 modules, each with a module-scoped ballast; nine tests of 150 to 250 MB, two of which do not fit
together. Every run gets a memory cgroup of its own (version 1 or 2) with a limit of 450 MB and no swap, in which the
kernel kills as it does in a container. The suite has no failing test: every failure is a false one, and so is every
test that never ran. Making a cgroup takes root; where there is none the program says so and ends with exit code 2.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

MB = 10**6
LIMIT_BYTES = 450 * MB
_ROOTS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))

_SMALL = """
def test_small_{number}(ballast):
    time.sleep(0.02)
    assert len(b"x" * 2_000_000) == 2_000_000
"""
_HOG = """
def test_hog_{megabytes}(ballast):
    kept = [b"x" * 10_000_000 for _ in range({megabytes} // 10)]
    time.sleep(0.3)
    assert len(kept) == {megabytes} // 10
"""
_MODULE = """
import time
import pytest

@pytest.fixture(scope="module")
def ballast():
    yield b"x" * {ballast}_000_000
"""
_HOGS = {1: (150, 250), 3: (160, 240), 5: (170, 230), 7: (180, 220), 9: (200,)}  # module: megabytes


def make_suite(folder: Path) -> int:
    """Write the suite; return the number of its tests."""
    tests = 0
    for module in range(10):
        hogs = _HOGS.get(module, ())
        small = [_SMALL.format(number=number) for number in range(5 if module % 2 else 7)]
        small = small[: len(small) - (module == 9)]
        large = [_HOG.format(megabytes=megabytes) for megabytes in hogs]
        half = len(small) // 2
        parts = [*small[:half], *large, *small[half:]]
        text = _MODULE.format(ballast=44 + module) + "".join(parts)
        (folder / f"test_module_{module}.py").write_text(text, encoding="utf-8")
        tests += len(parts)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return tests


@dataclass(frozen=True)
class Group:
    """A memory cgroup: where it is, and how its version calls things."""

    folder: Path

    @property
    def is_v1(self) -> bool:
        return (self.folder / "memory.limit_in_bytes").exists()

    def limit(self, limit_bytes: int) -> None:
        names = (
            ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
            if self.is_v1
            else ("memory.max", "memory.swap.max")
        )
        (self.folder / names[0]).write_text(str(limit_bytes))
        with suppress(OSError):  # no swap is accounted for here
            (self.folder / names[1]).write_text(str(limit_bytes) if self.is_v1 else "0")

    def peak_bytes(self) -> int:
        name = "memory.max_usage_in_bytes" if self.is_v1 else "memory.peak"
        path = self.folder / name
        return int(path.read_text()) if path.exists() else 0

    def kills(self) -> int:
        path = self.folder / ("memory.oom_control" if self.is_v1 else "memory.events")
        rows = dict(line.split() for line in path.read_text().splitlines())
        return int(rows.get("oom_kill", 0))

    def command(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs the given one inside."""
        return ["sh", "-c", f'echo $$ > {self.folder / "cgroup.procs"} && exec "$@"', "sh", *command]


@contextmanager
def memory_cgroup(limit_bytes: int) -> Iterator[Group]:
    """Make a cgroup with a limit on memory. OSError where that cannot be done."""
    root = next((root for root in _ROOTS if (root / "cgroup.procs").exists()), None)
    if root is None:
        raise OSError("no memory cgroups are mounted under /sys/fs/cgroup")
    folder = root / f"drm-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        if not (folder / "memory.limit_in_bytes").exists() and not (folder / "memory.max").exists():
            (root / "cgroup.subtree_control").write_text("+memory")  # version 2, not handed down yet
        group = Group(folder)
        group.limit(limit_bytes)
        yield group
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a cgroup; the kernel takes a moment to see that its processes are gone."""
    deadline = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@dataclass(frozen=True)
class Ran:
    """What came of one run."""

    passed: int
    failed: int
    unrun: int
    kills: int
    peak_bytes: int
    wall_s: float
    exit_code: int
    said: str


def contestants(executors: int) -> dict[str, list[str]]:
    drm = ["-p", "no:xdist", "--drm", "--drm-executors", str(executors)]
    return {"serial": ["-p", "no:xdist"], "xdist": ["-n", str(executors)], "drm first": drm, "drm again": drm}


def run_once(cwd: Path, options: Sequence[str], tests: int, limit_bytes: int) -> Ran:
    """Run the suite in a cgroup of its own."""
    junit = cwd / "junit.xml"
    junit.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_"))}
    with memory_cgroup(limit_bytes) as group:
        began = time.perf_counter()
        done = subprocess.run(
            group.command(command), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        wall_s = time.perf_counter() - began
        kills, peak = group.kills(), group.peak_bytes()
    outcomes: dict[str, bool] = {}
    if junit.exists():
        for case in ElementTree.parse(junit).iter("testcase"):
            bad = any(child.tag in ("failure", "error") for child in case)
            name = f"{case.get('classname')}::{case.get('name')}"
            outcomes[name] = outcomes.get(name, True) and not bad
    passed = sum(outcomes.values())
    return Ran(
        passed=passed,
        failed=len(outcomes) - passed,
        unrun=tests - len(outcomes),
        kills=kills,
        peak_bytes=peak,
        wall_s=round(wall_s, 2),
        exit_code=done.returncode,
        said=done.stdout + done.stderr,
    )


def compare(cwd: Path, *, executors: int, rounds: int, limit_bytes: int) -> dict[str, list[Ran]]:
    """Run all in turn; "drm first" has no history, "drm again" that of the run before it."""
    tests = make_suite(cwd)
    rows: dict[str, list[Ran]] = {name: [] for name in contestants(executors)}
    for _ in range(rounds):
        shutil.rmtree(cwd / ".drm", ignore_errors=True)
        for name, options in contestants(executors).items():
            rows[name].append(run_once(cwd, options, tests, limit_bytes))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_limit", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--executors", type=int, default=2)
    parser.add_argument("--limit", type=int, default=LIMIT_BYTES // MB, metavar="MB")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--verbose", action="store_true", help="print what the runs printed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drm-bench-") as folder:
        try:
            rows = compare(
                Path(folder), executors=options.executors, rounds=options.rounds, limit_bytes=options.limit * MB
            )
        except OSError as error:
            print(f"no memory cgroup can be made here: {error}; run as root where cgroups are writable")
            return 2
    if options.json:
        print(json.dumps({name: [asdict(ran) for ran in runs] for name, runs in rows.items()}))
        return 0
    print(f"68 tests, {options.limit} MB, {options.executors} executors")
    for name, runs in rows.items():
        for ran in runs:
            print(
                f"{name:10} passed {ran.passed:3}  failed {ran.failed:3}  unrun {ran.unrun:3}  kernel kills {ran.kills}"
                f"  peak {ran.peak_bytes / MB:4.0f} MB  wall {ran.wall_s:5.1f} s  exit {ran.exit_code}"
            )
            if options.verbose:
                print(ran.said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
