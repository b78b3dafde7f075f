"""Measurements of this run against those stored for the same kind of machine, or else for another one.

A baseline file holds the last 30 runs, of each the least seconds per benchmark: the
noise of a machine only adds. Its name is the machine's fingerprint. Where there is no file,
the times of another machine are taken, made as much longer or shorter as half of the benchmarks
are: what then takes far longer than they do is slower on any machine, and no less is told from it.

Two machines of one kind, or one on two days, may still differ in speed by a third, in all
benchmarks alike. So each run is first divided by how much slower or faster than usual half
of its benchmarks were: what is left is the noise of a benchmark, and a change of its code.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from drm.worker.limits import machine_capacity

SCHEMA_VERSION = 2
KEPT_RUNS = 30
FEW_RUNS = 5
FLOOR_FEW, FLOOR_MANY = 0.30, 0.08
GROSS = 1.5  # slower by so much more than the others: a machine or a version of Python is not why
SPREADS = 4.0
ENOUGH = 20  # benchmarks: half of so many are not made slower by one change; of one component's they may be
MAD_TO_SIGMA = 1.4826  # of a normal distribution
NORMAL_95 = 1.96

Runs = Sequence[Mapping[str, float]]  # oldest first: the least seconds per benchmark

REGRESSED, IMPROVED, UNCHANGED, NO_BASELINE = "regressed", "improved", "unchanged", "no baseline for this machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One benchmark of one run. Times are cpu seconds per call; ``extra`` holds quality figures."""

    name: str
    component: str
    min_s: float
    median_s: float
    mean_s: float
    stddev_s: float
    rounds: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The least seconds against the stored ones; ``change`` 0.1 is 10 % slower, ``z`` the change in robust standard
    deviations of the stored runs (None where these are all the same). None where nothing is stored. ``low`` and
    ``high``: what the change may be with the noise of the stored runs, 95 of 100 times. ``past_s``: those runs, as
    long as they would have taken on the machine as it usually is. ``is_gross``: it is slower whatever the machine.
    ``stored_on``: the other machine that was compared with, if it was one."""

    name: str
    verdict: str
    min_s: float
    baseline_s: float | None = None
    change: float | None = None
    limit: float | None = None
    low: float | None = None
    high: float | None = None
    past_s: tuple[float, ...] = ()
    z: float | None = None
    is_gross: bool = False
    stored_on: str = ""

    def describe(self) -> str:
        """Return one line for people."""
        if self.baseline_s is None or self.change is None or self.limit is None:
            return f"{self.name}: {_seconds(self.min_s)}, {self.verdict}"
        there = " that the other machine's time makes" if self.stored_on else ""
        return (
            f"{self.name}: {_seconds(self.min_s)} against {_seconds(self.baseline_s)}{there}, "
            f"{self.change:+.0%} (limit {self.limit:.0%}): {self.verdict}"
        )


def describe_all(comparisons: Sequence[Comparison], slowed: float = 0.0) -> str:
    """Return the last line for people: which benchmarks have become slower, by name. ``slowed``: all of them."""
    slower = [each for each in comparisons if each.verdict == REGRESSED]
    named = ", ".join(f"{each.name} ({each.change:+.0%})" for each in slower)
    compared = sum(each.change is not None for each in comparisons)
    if not compared:
        return f"{len(comparisons)} benchmarks, {NO_BASELINE}: nothing is compared"
    together = f" (half of them by {slowed:+.0%} or more: the machine is)" if slowed >= 0.01 else ""
    there = next((each.stored_on for each in comparisons if each.stored_on), "")
    together = f" with {there}, each relative to the others" if there else together
    said = f"{compared} of {len(comparisons)} benchmarks compared{together}, {len(slower)} slower"
    return f"{said}: {named}" if named else said


def describe_figures(extra: Mapping[str, Any]) -> str:
    """Return the figures of a benchmark for the end of its line."""
    return "".join(
        f"; {name} {value:g}" if isinstance(value, float) else f"; {name} {value}" for name, value in extra.items()
    )


def machine() -> dict[str, str | int]:
    """Return what makes times comparable: cpu model, cores that may be used, how much of them (a cgroup's quota),
    Python and how it was built, numpy."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "quota": f"{machine_capacity().cpu_cores:g}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "build": f"{platform.python_compiler()}, {' '.join(map(str, platform.python_build()))}",
        "numpy": _numpy_version(),
    }


def _numpy_version() -> str:
    """Return the version that is installed, without loading it."""
    return importlib.metadata.version("numpy") if importlib.util.find_spec("numpy") is not None else "none"


def fingerprint(facts: Mapping[str, str | int]) -> str:
    """Return the machine's facts as a file name without suffix: those that people know, and a hash of all."""
    code = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:8]
    text = f"{facts['cpu']}-{facts['cores']}cores-{facts['python']}-{code}"
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def load_baseline(path: Path) -> list[dict[str, float]]:
    """Return the past runs, oldest first: the least seconds per benchmark. Nothing where there is no file.

    ValueError for another format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    if data.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"{path}: format {data.get('schema_version')} is not {SCHEMA_VERSION}; store it anew")
    return [{name: float(value) for name, value in run["min_s"].items()} for run in data["runs"]]


def nearest(folder: Path, own: str, names: Iterable[str]) -> str:
    """Return the fingerprint whose baseline is to be compared with: ``own`` if it is stored, else that which has most
    of the benchmarks ``names``, or ``own`` again."""
    if (folder / f"{own}.json").exists():
        return own
    wanted, most = set(names), 0
    found = own
    for path in sorted(folder.glob("*.json")):
        try:
            shared = len(wanted & {name for run in load_baseline(path) for name in run})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # only one's own that cannot be read is worth a line
        if shared > most:
            found, most = path.stem, shared
    return found


def store_baseline(path: Path, facts: Mapping[str, str | int], past: Runs, measured: Sequence[Measurement]) -> None:
    """Write the past runs and this one: of each benchmark the last 30 at least."""
    runs = [*past, {each.name: float(f"{each.min_s:.6g}") for each in measured}]
    kept: list[Mapping[str, float]] = []
    times: Counter[str] = Counter()
    for run in reversed(runs):
        if any(times[name] < KEPT_RUNS for name in run):
            kept.insert(0, run)
            times.update(run.keys())
    rows = [{"min_s": dict(sorted(run.items()))} for run in kept]
    write_json(path, {"schema_version": SCHEMA_VERSION, "machine": dict(facts), "runs": rows})


def compare(
    measured: Sequence[Measurement], past: Runs, *, quick: bool = False, stored_on: str = ""
) -> list[Comparison]:
    """Return one verdict per measurement. ``stored_on``: the past is that of another machine, of this name.

    Regressed: slower than the median of the past runs by more than four robust
    standard deviations of theirs (median absolute deviation, Rousseeuw and Croux 1993)
    and by more than a floor: 30 % while fewer than five runs are stored and for a
    quick run, else 8 %. A limit on the mean alone would call a third of unchanged runs slower.
    By how much half of many benchmarks are slower, the machine is: that much is allowed on top,
    and taken off the past runs. A run of a few benchmarks is compared with the past as it was.
    """
    if stored_on:
        return _compare_elsewhere(measured, past, stored_on)
    before = _before(measured, past)
    slowed = slowed_together(measured, past)
    return [_verdict(each, before.get(each.name, ()), quick=quick, slowed=slowed) for each in measured]


def _compare_elsewhere(measured: Sequence[Measurement], past: Runs, stored_on: str) -> list[Comparison]:
    """Return verdicts by what the benchmarks take relative to each other; none where they are too few for that."""
    before = {name: statistics.median(values) for name, values in _before(measured, past).items()}
    ratios = [each.min_s / before[each.name] for each in measured if each.name in before]
    if len(ratios) < ENOUGH:
        return [_verdict(each, (), quick=True, slowed=0.0) for each in measured]
    speed = statistics.median(ratios)

    def verdict(each: Measurement) -> Comparison:
        if each.name not in before:
            return _verdict(each, (), quick=True, slowed=0.0)
        baseline_s = before[each.name] * speed
        change = each.min_s / baseline_s - 1
        return Comparison(
            name=each.name,
            verdict=REGRESSED if change > GROSS else UNCHANGED,
            min_s=each.min_s,
            baseline_s=baseline_s,
            change=change,
            limit=GROSS,
            is_gross=change > GROSS,
            stored_on=stored_on,
        )

    return [verdict(each) for each in measured]


def slowed_together(measured: Sequence[Measurement], past: Runs) -> float:
    """Return the median change of all benchmarks where there are enough of them and it is upwards, else 0."""
    before = _before(measured, past)
    changes = [each.min_s / statistics.median(before[each.name]) - 1 for each in measured if each.name in before]
    return max(0.0, statistics.median(changes)) if len(changes) >= ENOUGH else 0.0


def _before(measured: Sequence[Measurement], past: Runs) -> dict[str, tuple[float, ...]]:
    """Return the past of each benchmark: as it was for a few benchmarks, else with all runs at one speed."""
    names = {name for run in past for name in run}
    as_it_was = {name: tuple(run[name] for run in past if name in run) for name in names}
    if len(measured) < ENOUGH:
        return as_it_was
    usual = {name: statistics.median(values) for name, values in as_it_was.items()}

    def factor(run: Mapping[str, float]) -> float:
        return statistics.median(value / usual[name] for name, value in run.items()) if len(run) >= ENOUGH else 1.0

    factors = [factor(run) for run in past]
    return {name: tuple(run[name] / by for run, by in zip(past, factors, strict=True) if name in run) for name in names}


def _verdict(each: Measurement, past: Sequence[float], *, quick: bool, slowed: float) -> Comparison:
    if not past:
        return Comparison(name=each.name, verdict=NO_BASELINE, min_s=each.min_s)
    centre = statistics.median(past)
    spread = MAD_TO_SIGMA * statistics.median(abs(value - centre) for value in past)
    floor = FLOOR_FEW if quick or len(past) < FEW_RUNS else FLOOR_MANY
    least = max(floor, SPREADS * spread / centre)
    limit = (1 + least) * (1 + slowed) - 1
    change = each.min_s / centre - 1
    # One new run against the median of n: for a normal distribution its variance is pi/2 that of the mean.
    noise = NORMAL_95 * spread / centre * math.sqrt(1 + math.pi / (2 * len(past)))
    return Comparison(
        name=each.name,
        verdict=REGRESSED if change > limit else IMPROVED if change < -least else UNCHANGED,
        min_s=each.min_s,
        baseline_s=centre,
        change=change,
        limit=limit,
        low=change - noise if len(past) >= FEW_RUNS else None,
        high=change + noise if len(past) >= FEW_RUNS else None,
        past_s=tuple(past),
        z=(each.min_s / (1 + slowed) - centre) / spread if spread > 0 else None,
        is_gross=change > max(limit, (1 + GROSS) * (1 + slowed) - 1),
    )


def report(
    measured: Sequence[Measurement], comparisons: Sequence[Comparison], facts: Mapping[str, str | int], *, quick: bool
) -> dict[str, Any]:
    """Return what ``benchmark.json`` holds: one flat row per benchmark, times in seconds."""
    rows = [{**asdict(compared), **asdict(each)} for each, compared in zip(measured, comparisons, strict=True)]
    return {
        "schema_version": SCHEMA_VERSION,
        "fingerprint": fingerprint(facts),
        "machine": dict(facts),
        "timer": "process_time",
        "quick": quick,
        "benchmarks": rows,
    }


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        beside.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"
