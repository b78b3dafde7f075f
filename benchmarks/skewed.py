"""Suites in which a few tests take most of the time: how near to the shortest run do pytest-xdist and DRM come?

    python -m benchmarks.skewed --executors 2 4 --rounds 3

Each suite is 200 tests of 0.05 s and some long ones, as sleeps. The contestants alternate; DRM has run the suite once
before, as it has in any project from the second run on. Makespan is the time from the first test's start
to the last one's end, against that of LPT: every test anywhere, the longest first.
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SHORT = [0.05] * 200
SUITES = {
    "1 x 10 s, last": [*SHORT, 10.0],
    "4 x 5 s, last": [*SHORT, *[5.0] * 4],
    "8 x 2.5 s, first": [*[2.5] * 8, *SHORT],
}
_TESTS_PER_FILE = 50
_CONFTEST = """
import time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    started = time.time()
    try:
        return (yield)
    finally:
        with open("times.txt", "a") as times:
            times.write(f"{started} {time.time()}\\n")
"""


def contestants(executors: int) -> dict[str, list[str]]:
    return {
        "xdist load": ["-n", str(executors)],
        "xdist worksteal": ["-n", str(executors), "--dist", "worksteal"],
        "drm": ["-p", "no:xdist", "--drm", "--drm-executors", str(executors)],
    }


def write_suite(folder: Path, seconds: Sequence[float]) -> None:
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "conftest.py").write_text(_CONFTEST, encoding="utf-8")
    for first in range(0, len(seconds), _TESTS_PER_FILE):
        part = list(seconds[first : first + _TESTS_PER_FILE])
        body = f"import time, pytest\n@pytest.mark.parametrize('s', {part})\ndef test_sleep(s):\n    time.sleep(s)\n"
        (folder / f"test_{first:04}.py").write_text(body, encoding="utf-8")


def lpt_s(seconds: Sequence[float], executors: int) -> float:
    """Return the makespan of longest processing time first (Graham 1969)."""
    ends = [0.0] * executors
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def makespan_s(folder: Path, options: Sequence[str], tests: int) -> float:
    """Run the suite; return the seconds from the first start to the last end of a test."""
    times = folder / "times.txt"
    times.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    rows = [tuple(map(float, line.split())) for line in times.read_text(encoding="utf-8").splitlines()]
    if done.returncode or len(rows) != tests:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}, {len(rows)} tests:\n{done.stdout}{done.stderr}"
        )
    return max(end for _, end in rows) - min(start for start, _ in rows)


def compare(seconds: Sequence[float], executors: int, rounds: int) -> dict[str, float]:
    """Return per contestant the median of makespan / LPT."""
    found: dict[str, list[float]] = {name: [] for name in contestants(executors)}
    with tempfile.TemporaryDirectory(prefix="drm-bench-") as name:
        folder = Path(name)
        write_suite(folder, seconds)
        makespan_s(folder, contestants(executors)["drm"], len(seconds))
        for _ in range(rounds):
            for contestant, options in contestants(executors).items():
                found[contestant].append(makespan_s(folder, options, len(seconds)) / lpt_s(seconds, executors))
    return {contestant: round(statistics.median(ratios), 3) for contestant, ratios in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.skewed", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--executors", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = []
    for executors in options.executors:
        for suite, seconds in SUITES.items():
            ratios = compare(seconds, executors, options.rounds)
            rows.append(
                {"suite": suite, "executors": executors, "lpt_s": round(lpt_s(seconds, executors), 3), **ratios}
            )
            if not options.json:
                each = "  ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items())
                print(f"{executors} executors, {suite:17} LPT {lpt_s(seconds, executors):5.1f} s  {each}", flush=True)
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
