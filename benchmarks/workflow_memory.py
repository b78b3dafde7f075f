"""Memory of workflows' tasks: what is wasted and what fails, when every task gets what is predicted for it.

    python -m benchmarks.workflow_memory DATA_DIR --protocol A|B [--safe] [--seed N ...] [--json]

DATA_DIR holds ``trace_<workflow>.csv`` files. Protocol A: processes with at least 34 measured rows, shuffled with the
seed; the first 30 % are known, the others come one by one, and each is learnt when it has ended. Protocol B: all
rows in order of submission, nothing known at first. A task that got too little fails at its end, wastes all that it
had, and comes again with more. GB are 10^9 bytes; the target is ``rss`` in A and ``peak_rss`` in B.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drm.resource_performance_predictor.calibration import Calibration, Deviation
from drm.resource_performance_predictor.costs import SAFE, CostSettings, next_reservation
from drm.resource_performance_predictor.families import Family

LEAST_ROWS, KNOWN_SHARE = 34, 0.3
SHUFFLES = 3  # of the known part, where constants are chosen on it: one order says little
BYTE_MS_PER_GB_HOUR = 1e9 * 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task that ran: its process, input size and peak in bytes, milliseconds, and the developer's preset."""

    process: str
    size: float
    peak: float
    ms: float
    preset: float


@dataclass(slots=True, kw_only=True)
class Score:
    """Tasks tested, tasks that failed at first, GB-hours wasted."""

    tasks: int = 0
    failing: int = 0
    gb_hours: float = 0.0
    intervals: int = 0
    covered: int = 0

    @property
    def failing_percent(self) -> float:
        return 100 * self.failing / self.tasks if self.tasks else 0.0

    @property
    def covered_percent(self) -> float:
        return 100 * self.covered / self.intervals if self.intervals else 0.0


class Intervals:
    """Intervals that hold nine times in ten, pooled over the processes of a workflow; a batch is 50 tasks."""

    BATCH = 50

    def __init__(self) -> None:
        self._calibration = Calibration()
        self._deviations: dict[str, Deviation] = defaultdict(Deviation)
        self._seen = 0

    def take(self, row: Row, expected: float, score: Score, *, counts: bool) -> None:
        """Learn how near the expectation was; ``counts``: it was a prediction that is scored."""
        own = self._deviations[row.process]
        if counts:
            low, high = self._calibration.interval(own, expected)
            score.intervals += 1
            score.covered += low * expected <= row.peak <= high * expected
        self._calibration.observe(math.log(row.peak / expected), own, expected)
        self._seen += 1
        if self._seen % self.BATCH == 0:
            self._calibration.turn()


def number(text: str | None) -> float:
    """Return what is written, and 0 for what is no amount (``-``, nothing, nan)."""
    try:
        value = float(text or "")
    except ValueError:
        return 0.0
    return value if 0 <= value < math.inf else 0.0


def read_rows(path: Path, target: str) -> list[Row]:
    """Return the measured rows of a trace in order of submission. SystemExit names what is wrong with the file."""
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        lacking = {"process", "memory", "realtime", "rchar", "submit", target} - set(reader.fieldnames or ())
        if lacking:
            raise SystemExit(f"{path}: no column {', '.join(sorted(lacking))}; is this a trace?")
        rows = sorted(reader, key=lambda row: number(row["submit"]))
    return [
        Row(
            process=row["process"],
            size=number(row["rchar"]),
            peak=number(row[target]),
            ms=number(row["realtime"]),
            preset=number(row["memory"]),
        )
        for row in rows
        if number(row[target]) > 0
    ]


def tried(row: Row, first: float, largest_seen: float, limit: float, score: Score) -> None:
    """Count a task that gets ``first`` bytes, and more until it is enough."""
    score.tasks += 1
    score.failing += first < row.peak
    reserved, kills, limit = first, 0, max(limit, row.peak)
    while reserved < row.peak:
        score.gb_hours += reserved * row.ms / BYTE_MS_PER_GB_HOUR
        kills += 1
        reserved = next_reservation(reserved, largest_seen, kills, limit)
    score.gb_hours += (reserved - row.peak) * row.ms / BYTE_MS_PER_GB_HOUR


def protocol_a(rows: Sequence[Row], seed: int, settings: CostSettings | None, *, known_only: bool = False) -> Score:
    """Return the score of one workflow. ``known_only``: leave out what is tested, and test half of what is known, in
    three orders of it."""
    by_process: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_process[row.process].append(row)
    limit, score, intervals = max(row.preset for row in rows), Score(), Intervals()
    orders = SHUFFLES if known_only else 1
    for process, own in by_process.items():
        if len(own) < LEAST_ROWS:
            continue
        random.Random(f"{seed} {process}").shuffle(own)
        known = int(KNOWN_SHARE * len(own))
        if known_only:
            own, known = own[:known], known // 2
        for number in range(orders):
            if number:
                random.Random(f"{number} {seed} {process}").shuffle(own)
            family = Family(settings)
            for position, row in enumerate(own):
                if position >= known:
                    tried(row, family.predict(row.size, limit)[0], family.largest, limit, score)
                if family.samples:
                    intervals.take(row, family.expect(row.size, limit), score, counts=position >= known)
                family.learn(row.size, row.peak, row.ms)
    score.gb_hours /= orders
    return score


def protocol_b(rows: Sequence[Row], settings: CostSettings | None) -> Score:
    """Return the score of one workflow. The preset is what its developer's marker says: the first gets that, and none
    gets more unless one has needed more."""
    limit, score = max(row.preset for row in rows), Score()
    families: dict[str, Family] = defaultdict(lambda: Family(settings))
    intervals = Intervals()
    for row in rows:
        family = families[row.process]
        first = row.preset or limit
        if family.samples:
            ceiling = first if family.largest <= first else limit
            first = min(family.predict(row.size, limit)[0], ceiling)
            intervals.take(row, family.expect(row.size, limit), score, counts=True)
        tried(row, first, family.largest, limit, score)
        family.learn(row.size, row.peak, row.ms)
    return score


def presets(rows: Sequence[Row]) -> float:
    """Return the GB-hours that the presets waste on all rows."""
    return sum(max(0.0, row.preset - row.peak) * row.ms for row in rows) / BYTE_MS_PER_GB_HOUR


def results(
    folder: Path, protocol: str, seeds: Sequence[int], settings: CostSettings | None, *, known_only: bool = False
) -> Iterator[dict[str, object]]:
    """Yield a row per workflow, means over the seeds, then the sum."""
    files = sorted(folder.glob("trace_*.csv")) if folder.is_dir() else []
    if not files:
        raise SystemExit(f"{folder}: no file trace_*.csv in it")
    total, hours = Score(), 0.0
    for path in files:
        rows = read_rows(path, "rss" if protocol == "A" else "peak_rss")
        if protocol == "A":
            scores = [protocol_a(rows, seed, settings, known_only=known_only) for seed in seeds]
        else:
            scores = [protocol_b(rows, settings)]
        mean = sum(score.gb_hours for score in scores) / len(scores)
        merged = Score(tasks=sum(s.tasks for s in scores), failing=sum(s.failing for s in scores))
        merged.intervals, merged.covered = sum(s.intervals for s in scores), sum(s.covered for s in scores)
        total.tasks, total.failing, hours = total.tasks + merged.tasks, total.failing + merged.failing, hours + mean
        total.intervals, total.covered = total.intervals + merged.intervals, total.covered + merged.covered
        yield row_of(path.stem.removeprefix("trace_"), merged, mean, presets(rows) if protocol == "B" else None)
    yield row_of("all", total, hours, None)


def row_of(name: str, score: Score, gb_hours: float, preset: float | None) -> dict[str, object]:
    row: dict[str, object] = {
        "workflow": name,
        "gb_hours": round(gb_hours, 2),
        "failing_percent": round(score.failing_percent, 2),
        "covered_percent": round(score.covered_percent, 2),
        "tasks": score.tasks,
    }
    return row if preset is None else {**row, "presets_gb_hours": round(preset, 2)}


def changed(settings: CostSettings, texts: Sequence[str]) -> CostSettings:
    """Return the settings with other constants: what they were chosen among."""
    try:
        pairs = [(name, float(value)) for name, _, value in (text.partition("=") for text in texts)]
        return replace(settings, **{name: type(getattr(settings, name))(value) for name, value in pairs})
    except (AttributeError, TypeError, ValueError) as error:
        raise SystemExit(f"--set: {error}") from None


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workflow_memory", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--protocol", choices=("A", "B"), required=True)
    parser.add_argument("--safe", action="store_true", help="fewer failing tasks, more waste")
    parser.add_argument("--seed", type=int, action="append", help="of the split; may be given again (0, 1, 2)")
    parser.add_argument("--known-only", action="store_true", help="A, on the known part: constants are chosen on it")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another constant, such as leaders=5"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines")
    parser.add_argument("--not-boosted", action="store_true", help="without LightGBM, where it is installed (extra ml)")
    options = parser.parse_args(None if arguments is None else list(arguments))
    seeds = options.seed or ([0, 1, 2] if options.protocol == "A" else [0])
    settings = changed(replace(SAFE if options.safe else CostSettings(), boosted=not options.not_boosted), options.set)
    if not options.json:
        print(f"{'workflow':<12}{'GB-hours':>12}{'failing %':>12}{'covered %':>12}{'tasks':>9}  presets, GB-hours")
    for row in results(options.data, options.protocol, seeds, settings, known_only=options.known_only):
        if options.json:
            print(json.dumps({"protocol": options.protocol, "safe": options.safe, "seeds": seeds, **row}), flush=True)
        else:
            print(
                "{workflow:<12}{gb_hours:>12.2f}{failing_percent:>12.2f}{covered_percent:>12.2f}{tasks:>9}".format(
                    **row
                ),
                end="",
            )
            print(f"  {row['presets_gb_hours']:.2f}" if "presets_gb_hours" in row else "", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
