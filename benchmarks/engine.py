"""The same suite under pytest, pytest-xdist and DRM, in turn: outcomes, wall, cpu and memory.

    python -m benchmarks.engine --rounds 3 -- --pyargs networkx.classes
    python -m benchmarks.engine --noop 5000

Times of one machine at different moments do not compare, so the three alternate, and the ratios are
medians over the rounds. Memory is the largest sum of proportional set sizes of all processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from drm.worker.linux import children_of
from drm.worker.probe import proportional_bytes

_SAMPLE_S = 0.1
_TESTS_PER_FILE = 100


@dataclass(frozen=True)
class Figures:
    """What one run took. ``memory_bytes`` is 0 where it was not sampled."""

    wall_s: float
    cpu_s: float
    memory_bytes: int


def make_noop_suite(folder: Path, tests: int) -> None:
    for number in range(0, tests, _TESTS_PER_FILE):
        count = min(_TESTS_PER_FILE, tests - number)
        lines = "".join(f"def test_{index}():\n    pass\n\n\n" for index in range(count))
        (folder / f"test_noop_{number // _TESTS_PER_FILE:04d}.py").write_text(lines, encoding="utf-8")


def tree(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    found = [pid]
    for child in children_of(pid):
        found += tree(child)
    return found


def measure(command: Sequence[str], cwd: Path, *, sample: bool) -> Figures:
    """Run a command to its end and return what it took, children included; memory only when sampled."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while sample and process.poll() is None:
        peak = max(peak, sum(map(proportional_bytes, tree(process.pid))))
        time.sleep(_SAMPLE_S)
    process.wait()
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(wall_s=wall, cpu_s=cpu, memory_bytes=peak)


def outcomes(junit: Path) -> dict[str, str]:
    """Return the outcome of each test in a junit file."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[f"{case.get('classname')}::{case.get('name')}"] = "+".join(sorted(kinds)) or "passed"
    return found


def contestants(executors: int) -> dict[str, list[str]]:
    return {
        "serial": ["-p", "no:xdist"],
        "xdist": ["-n", str(executors)],
        "drm": ["-p", "no:xdist", "--drm", "--drm-executors", str(executors)],
    }


def ratios(ours: Sequence[Figures], theirs: Sequence[Figures]) -> dict[str, float]:
    """Return the medians of the ratios, round by round."""
    return {
        field: statistics.median(
            getattr(mine, field) / getattr(other, field) for mine, other in zip(ours, theirs, strict=True)
        )
        for field in ("wall_s", "cpu_s")
    }


def compare(arguments: Sequence[str], cwd: Path, *, executors: int, rounds: int) -> dict[str, object]:
    """Run all in turn, ``rounds`` times after a first that is not timed: there memory is sampled, which costs cpu.

    Return figures, ratios and differing outcomes.
    """
    figures: dict[str, list[Figures]] = {name: [] for name in contestants(executors)}
    memory: dict[str, int] = {}
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):
            for name, options in contestants(executors).items():
                junit = Path(folder) / f"{name}.xml"
                command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}"]
                taken = measure([*command, *options, *arguments], cwd, sample=not turn)
                found[name] = outcomes(junit)
                if turn:
                    figures[name].append(taken)
                else:
                    memory[name] = taken.memory_bytes
    return {
        "rounds": rounds,
        "tests": len(found["serial"]),
        "figures": {name: [asdict(taken) for taken in rows] for name, rows in figures.items()},
        "memory_bytes": memory,
        "ratios": {f"drm/{peer}": ratios(figures["drm"], figures[peer]) for peer in ("serial", "xdist")},
        "different_outcomes": {
            name: sorted(
                key
                for key in found["serial"].keys() | found[name].keys()
                if found["serial"].get(key) != found[name].get(key)
            )
            for name in ("xdist", "drm")
        },
    }


def show(result: dict[str, object]) -> None:
    figures, pairs, memory = result["figures"], result["ratios"], result["memory_bytes"]
    assert isinstance(figures, dict)
    assert isinstance(pairs, dict)
    assert isinstance(memory, dict)
    print(f"{result['tests']} tests, {result['rounds']} rounds; medians (and the range of wall)")
    for name, rows in figures.items():
        wall, cpu = ([row[field] for row in rows] for field in ("wall_s", "cpu_s"))
        print(
            f"{name:8} wall {statistics.median(wall):7.2f} s ({min(wall):.2f}..{max(wall):.2f})  "
            f"cpu {statistics.median(cpu):7.2f} s  memory {memory[name] / 2**20:7.0f} MiB"
        )
    for pair, ratio in pairs.items():
        print(f"{pair:12} wall {ratio['wall_s']:.2f}x  cpu {ratio['cpu_s']:.2f}x")
    different = result["different_outcomes"]
    assert isinstance(different, dict)
    for name, tests in different.items():
        print(f"outcomes that differ from serial, {name}: {len(tests)} {' '.join(tests[:5])}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--executors", type=int, default=2)
    parser.add_argument("--noop", type=int, default=0, metavar="N", help="a suite of N tests that do nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("arguments", nargs="*", help="after --: what pytest is given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drm-bench-") as folder:
        cwd = Path(folder)
        if options.noop:
            make_noop_suite(cwd, options.noop)
        (cwd / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        os.environ.pop("PYTEST_ADDOPTS", None)
        result = compare(options.arguments, cwd, executors=options.executors, rounds=options.rounds)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
