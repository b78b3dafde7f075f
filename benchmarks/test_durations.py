"""Durations of tests: how near the predictions are, how often the intervals hold, how well a queue keeps workers busy.

    python -m benchmarks.test_durations FILE.csv.gz [--json]

FILE: unix_time_s,test,seconds; rows of one time are a revision. At each revision from the 16th on every test that ran
before is predicted from earlier revisions only. MdAPE: the median over all predictions of |predicted - was| / was.
Makespan: workers take the test that is predicted to be longest first, and are as long busy as the tests then took;
the bound is the mean load of a worker, or the longest test where that is longer.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import heapq
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from drm.resource_performance_predictor.calibration import JITTER_S, Calibration, Deviation
from drm.resource_performance_predictor.statistics import expected_of

FIRST_PREDICTED = 16  # counted from 1
WORKERS = (8, 32)
LEAST_S = 1e-4


def revisions(path: Path) -> Iterator[list[tuple[str, float]]]:
    """Yield (test, seconds) of each revision, oldest first. SystemExit says what is wrong with the file."""
    read: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with read(path, "rt", encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        if header != ["unix_time_s", "test", "seconds"]:
            raise SystemExit(f"{path}: its columns are {', '.join(header)}, not unix_time_s, test, seconds")
        try:
            rows = sorted((float(at), test, float(seconds)) for at, test, seconds in reader)
        except ValueError as error:
            raise SystemExit(f"{path}: line {reader.line_num} is no measurement ({error})") from None
    for _, rows_then in groupby(rows, key=lambda row: row[0]):
        yield [(test, seconds) for _, test, seconds in rows_then if 0 <= seconds < math.inf]


def makespan(durations: Sequence[tuple[float, float]], workers: int) -> float:
    """Return when the last of the tests ends, given (predicted, actual) seconds each, longest predicted first."""
    free = [0.0] * workers
    for _, actual in sorted(durations, key=lambda pair: -pair[0]):
        heapq.heapreplace(free, free[0] + actual)
    return max(free)


def replay(path: Path) -> dict[str, object]:
    """Return the figures of one file."""
    walls: dict[str, tuple[float, ...]] = {}
    seen: dict[str, int] = {}
    deviations: dict[str, Deviation] = {}
    calibration = Calibration(jitter=JITTER_S)
    errors: list[float] = []
    covered = 0
    ratios: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    count = 0
    for count, rows in enumerate(revisions(path), start=1):
        suite: list[tuple[float, float]] = []
        for test, seconds in rows:
            past = walls.get(test)
            if past:
                expected = expected_of(past, seen[test])
                own = deviations.setdefault(test, Deviation())
                suite.append((expected, seconds))
                if count >= FIRST_PREDICTED:
                    low, high = calibration.interval(own, expected)
                    covered += low * expected <= seconds <= high * expected
                    errors.append(abs(expected - seconds) / max(seconds, LEAST_S))
                calibration.observe(math.log(max(seconds, LEAST_S) / max(expected, LEAST_S)), own, expected)
            seen[test] = seen.get(test, 0) + 1
            walls[test] = (*(past or ())[-2:], seconds)
        calibration.turn()
        if count >= FIRST_PREDICTED and suite:
            for workers in WORKERS:
                took = [seconds for _, seconds in suite]
                bound = max(sum(took) / workers, max(took))
                ratios[workers].append(makespan(suite, workers) / bound if bound > 0 else 1.0)
    if not errors:
        raise SystemExit(f"{path}: {count} revisions; predictions begin with the {FIRST_PREDICTED}th")
    return {
        "file": path.name,
        "revisions": count,
        "predictions": len(errors),
        "mdape_percent": round(100 * statistics.median(errors), 2),
        "covered_percent": round(100 * covered / len(errors), 2),
        **{f"makespan_over_bound_{w}": round(statistics.fmean(r), 4) for w, r in ratios.items()},
        **{f"makespan_over_bound_{w}_worst": round(max(r), 4) for w, r in ratios.items()},
    }


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.test_durations", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE.csv.gz")
    parser.add_argument("--json", action="store_true", help="JSON lines")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if not options.file.is_file():
        raise SystemExit(f"{options.file}: no such file")
    figures = replay(options.file)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name.replace('_', ' '):<32}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
