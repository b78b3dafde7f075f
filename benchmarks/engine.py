"""The same suite under pytest, the modes of pytest-xdist, and DRM, in turn: outcomes, wall, cpu and memory.

    python -m benchmarks.engine --noop 5000
    python -m benchmarks.engine --suite --pyargs networkx --modes serial,load,loadscope,drm
    python -m benchmarks.engine --executors 8 --modes serial,load,drm --suite --pyargs networkx -k test_dag

Times of one machine at different moments do not compare, so all run in turn, and the ratios are
medians over the rounds. A first turn is not timed: in it memory is sampled, outcomes are written, and
pytest fills its caches and DRM its history, so what is timed is a second run. Memory is the largest sum of the
proportional set sizes of all processes. Outcomes are compared with the serial run's, test by test.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.processes import Figures, measure, outcomes

MODES = ("serial", "load", "loadscope", "worksteal", "drm")
_TESTS_PER_FILE = 100


def make_noop_suite(folder: Path, tests: int) -> None:
    for number in range(0, tests, _TESTS_PER_FILE):
        count = min(_TESTS_PER_FILE, tests - number)
        lines = "".join(f"def test_{index}():\n    pass\n\n\n" for index in range(count))
        (folder / f"test_noop_{number // _TESTS_PER_FILE:04d}.py").write_text(lines, encoding="utf-8")


def options_of(mode: str, executors: int, within: str = "") -> list[str]:
    if mode == "serial":
        return ["-p", "no:xdist"]
    if mode == "drm":
        limit = ["--drm-memory", within] if within else []
        return ["-p", "no:xdist", "--drm", "--drm-executors", str(executors), *limit]
    return ["-n", str(executors), "--dist", mode]


def compare(
    arguments: Sequence[str], cwd: Path, *, modes: Sequence[str], executors: int, rounds: int, within: str = ""
) -> dict[str, object]:
    """Run all modes in turn, ``rounds`` times after a first; return figures, ratios and differing outcomes.

    ``within``: how much memory DRM may give out (default: the machine's).
    """
    figures: dict[str, list[Figures]] = {mode: [] for mode in modes}
    memory: dict[str, int] = {}
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):
            for mode in modes:
                junit = Path(folder) / f"{mode}.xml"
                command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
                if not turn:
                    command.append(f"--junitxml={junit}")
                taken = measure([*command, *options_of(mode, executors, within), *arguments], cwd, sample=not turn)
                if turn:
                    figures[mode].append(taken)
                else:
                    memory[mode] = taken.memory_bytes
                    found[mode] = outcomes(junit)
    return {
        "rounds": rounds,
        "executors": executors,
        "tests": {mode: len(found[mode]) for mode in modes},
        "figures": {mode: [asdict(taken) for taken in rows] for mode, rows in figures.items()},
        "memory_bytes": memory,
        "ratios": {
            f"drm/{mode}": ratios(figures["drm"], figures[mode]) | {"memory": memory["drm"] / memory[mode]}
            for mode in modes
            if mode != "drm" and "drm" in modes
        },
        "different_outcomes": {mode: different(found["serial"], found[mode]) for mode in modes if "serial" in modes},
    }


def ratios(ours: Sequence[Figures], theirs: Sequence[Figures]) -> dict[str, float]:
    """Return the medians of the ratios, round by round."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "wall": statistics.median(mine.wall_s / other.wall_s for mine, other in pairs),
        "cpu": statistics.median(mine.cpu_s / other.cpu_s for mine, other in pairs),
    }


def different(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return the tests whose outcome is another one than the serial run's, or that only one of both has."""
    return sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))


def lines_of(result: dict[str, object]) -> Iterable[str]:
    tests, figures, memory = result["tests"], result["figures"], result["memory_bytes"]
    pairs, unequal = result["ratios"], result["different_outcomes"]
    assert isinstance(tests, dict)
    assert isinstance(figures, dict)
    assert isinstance(memory, dict)
    assert isinstance(pairs, dict)
    assert isinstance(unequal, dict)
    yield f"{result['executors']} executors, {result['rounds']} rounds; medians (and the range of wall)"
    for mode, rows in figures.items():
        walls, cpus = ([row[field] for row in rows] for field in ("wall_s", "cpu_s"))
        timed = (
            f"wall {statistics.median(walls):7.2f} s ({min(walls):.2f}..{max(walls):.2f})  "
            f"cpu {statistics.median(cpus):7.2f} s  "
            if rows
            else ""
        )
        yield f"{mode:10} {timed}memory {memory[mode] / 2**20:6.0f} MiB  {tests[mode]} tests"
    for pair, ratio in pairs.items():
        yield f"{pair:14} wall {ratio['wall']:.2f}x  cpu {ratio['cpu']:.2f}x  memory {ratio['memory']:.2f}x"
    for mode, names in unequal.items():
        if mode != "serial":
            yield f"outcomes that differ from serial, {mode}: {len(names)} {' '.join(names[:5])}".rstrip()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="timed turns (default 3)")
    parser.add_argument("--executors", type=int, default=2, metavar="N", help="processes that run tests (default 2)")
    parser.add_argument("--modes", default=",".join(MODES), help=f"what to run, of {','.join(MODES)} (default: all)")
    parser.add_argument("--noop", type=int, default=0, metavar="N", help="a suite of N tests that do nothing")
    parser.add_argument("--within", default="", metavar="SIZE", help="how much memory DRM may give out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--suite", nargs=argparse.REMAINDER, default=[], help="last: paths and options for pytest")
    options = parser.parse_args(arguments)
    options.modes = options.modes.split(",")
    for mode in options.modes:
        if mode not in MODES:
            parser.error(f"--modes: {mode!r} is none of {', '.join(MODES)}")
    if bool(options.noop) == bool(options.suite):
        parser.error("give either --noop N or --suite PATHS")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="drm-bench-") as folder:
        cwd = Path(folder)
        if options.noop:
            make_noop_suite(cwd, options.noop)
        (cwd / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        suite = [str(Path(word).resolve()) if Path(word).exists() else word for word in options.suite]
        result = compare(
            suite, cwd, modes=options.modes, executors=options.executors, rounds=options.rounds, within=options.within
        )
    print(json.dumps(result) if options.json else "\n".join(lines_of(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
