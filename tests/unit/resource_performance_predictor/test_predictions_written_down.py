"""The same history gives the same predictions from version to version: they are written down, four digits of each.

Who changes a rule sees in ``tests/golden/predictions*.txt`` what that does to whom (``UPDATE_GOLDEN=1`` writes them).
The tests of the project are made up, one of each kind that there is: steady, noisy, grown, killed, changed, by size.
LightGBM is left out, whose numbers differ between its versions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import Random

import pytest

from drm.model.samples import Sample
from drm.model.work import Outcome, Task, Usage
from drm.past import Attempts
from drm.resource_performance_predictor import SAFE, CostSettings, ResourcePerformancePredictor
from drm.resource_performance_predictor.calibration import JITTER_S, Calibration, Deviation
from drm.resource_performance_predictor.experts import SizedMemory
from drm.resource_performance_predictor.families import Family

MIB = 2**20
HERE, THERE = "8 cores", "2 cores"
NOW, BEFORE = 7, 6  # sources


def off(chance: Random, width: float) -> float:
    """Return a factor around 1, now and then a much larger one."""
    return math.exp(width * (chance.random() + chance.random() - 1.0)) * (3.0 if chance.random() > 0.96 else 1.0)


def attempt(
    task_id: str,
    wall_s: float,
    mib: float,
    *,
    cores: float = 1.0,
    gpu_mib: float = 0.0,
    machine: str = HERE,
    source: int = NOW,
    reserved_mib: int = 0,
) -> Sample:
    usage = Usage(wall_s=wall_s, cpu_s=cores * wall_s, peak_rss_bytes=int(mib * MIB), gpu_bytes=int(gpu_mib * MIB))
    return Sample(
        task_id=task_id,
        usage=usage,
        outcome=Outcome.FAILED if reserved_mib else Outcome.PASSED,
        machine=machine,
        source=source,
        death="memory" if reserved_mib else "",
        reserved_bytes=reserved_mib * MIB,
    )


def history() -> dict[str, list[Sample]]:
    chance = Random(11)
    rows: list[Sample] = []

    def add(name: str, count: int, wall_s: float, mib: float, width: float = 0.05, **more: float) -> None:
        for _ in range(count):
            rows.append(
                attempt(name, wall_s * off(chance, width), mib * off(chance, width / 4), **more)  # type: ignore[arg-type]
            )

    for count in (1, 2, 3, 4, 5, 6, 12):
        add(f"few.py::after_{count}", count, 0.5 * count, 120.0, 0.3)
    add("many.py::steady", 40, 2.0, 300.0, 0.01)
    add("many.py::noisy", 40, 1.0, 200.0, 1.5)
    add("many.py::tiny", 40, 0.0004, 0.4, 0.8)
    add("many.py::parallel", 12, 3.0, 500.0, 0.1, cores=3.5)
    add("many.py::on_gpu", 9, 4.0, 900.0, 0.1, gpu_mib=5000.0)
    for mib in (3000, *[200, 201, 199, 203, 198] * 4):
        add("many.py::once_large", 1, 1.0, mib, 0.001)
    add("kills.py::once", 3, 1.0, 300.0)
    rows.append(attempt("kills.py::once", 0.4, 450, reserved_mib=440))
    rows += [attempt("kills.py::twice", 0.4, mib, reserved_mib=mib) for mib in (256, 512)]
    add("changed.py::again", 4, 8.0, 800.0, source=BEFORE)
    add("changed.py::again", 2, 2.0, 100.0)
    add("changed.py::only_before", 4, 8.0, 800.0, source=BEFORE)
    for number in range(7):
        add(f"both.py::t{number}", 3, 1.0 + number, 50.0, machine=THERE)
        if number < 5:
            add(f"both.py::t{number}", 3, 0.4 + 0.4 * number, 50.0)
    for number in range(24):
        add(f"wide.py::t{number}", 1, 0.2, 60.0, 0.4)
    for name in ("linear", "constant", "squared"):
        for _ in range(40):
            size = chance.randrange(10, 2000)
            grown = {"linear": 30 + size, "constant": 700, "squared": 80 + size * size / 2000}[name]
            add(f"sized.py::{name}[{size}-x]", 1, 0.001 * size, grown, 0.04)
    for size in range(1, 5):
        add(f"sized.py::young[{size}]", 1, 1.0, 100.0 * size)
    for number in range(20):
        add(f"m{number}.py::model", 1, 1.0, 400.0 + number)
    samples: dict[str, list[Sample]] = {}
    for row in rows:
        samples.setdefault(row.task_id, []).append(row)
    return samples


NEW = (
    *("few.py::new", "many.py::new", "wide.py::new", "nowhere.py::new", "changed.py::new"),
    *(f"sized.py::{name}[{size}-x]" for name in ("linear", "constant", "squared") for size in (5, 500, 1000, 4000)),
    *("sized.py::linear[x]", "sized.py::young[3]", "sized.py::young[9]"),
)


def line(*values: object) -> str:
    return " ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)


def lines_of(predictor: ResourcePerformancePredictor, names: Iterable[str]) -> list[str]:
    lines = []
    for name in names:
        scope = name.partition("::")[0]
        fixtures = ("model",) if name == "few.py::new" else ()
        found = predictor.predict_distribution(Task(task_id=name, scope=scope, fixtures=fixtures))
        spreads = (found.wall_s, found.memory_bytes, found.cpu_cores, found.gpu_bytes)
        numbers = [[spread.p50, spread.p90, spread.p99] for spread in spreads]
        for row in numbers[1::2]:
            row[:] = [value / MIB for value in row]
        wall, memory, cores, gpu = (line(*map(float, row)) for row in numbers)
        lines.append(
            f"{name}: {wall} s | {memory} MiB | {cores} cores | gpu {gpu} | "
            f"{line(found.reserved_bytes / MIB, found.method, found.samples, found.confidence)} | {found.why}"
        )
        seconds = predictor.expected_wall_s(name, scope), predictor.slow_wall_s(name) or 0.0
        lines.append(f"    {line(*seconds)}")
    return lines


def as_read(samples: dict[str, list[Sample]]) -> dict[str, Attempts]:
    """Return the same attempts as a history file has them: those of one test are learnt at once."""
    return {
        name: Attempts(
            name,
            [
                (
                    *(row.outcome.value if row.outcome else None, row.usage.wall_s, row.usage.cpu_s),
                    *(row.usage.peak_rss_bytes, row.at, row.machine, row.source, row.death, row.reserved_bytes),
                    row.usage.gpu_bytes,
                )
                for row in rows
            ],
        )
        for name, rows in samples.items()
    }


@pytest.mark.parametrize(
    ("name", "costs", "largest", "is_read"),
    [
        ("predictions", CostSettings(boosted=False), 0, False),
        (
            "predictions_safe",
            CostSettings(failure_penalty=2.0, cautious=True, leaders=5, boosted=False),
            4096 * MIB,
            True,
        ),
    ],
)
def test_predictions_of_a_project(
    golden: Callable[[str, str], None], name: str, costs: CostSettings, largest: int, is_read: bool
) -> None:
    samples = history()
    predictor = ResourcePerformancePredictor(machine=HERE, costs=costs, largest_bytes=largest)
    fixtures = {f"m{number}.py::model": ("model",) for number in range(20)}
    known = as_read(samples) if is_read else samples
    predictor.train_models(known, sources=dict.fromkeys(samples, NOW), fixtures=fixtures)
    names = [name for name in samples if not name.startswith(("sized", "wide", "m"))] + list(NEW)
    names += [name for name in samples if name.startswith("many")]
    lines = ["# before the run", *lines_of(predictor, names)]
    chance = Random(12)
    for position, (task_id, rows) in enumerate(list(samples.items())[:90]):
        usage = rows[-1].usage
        seen = Usage(
            wall_s=usage.wall_s * off(chance, 0.6),
            cpu_s=usage.cpu_s,
            peak_rss_bytes=int(usage.peak_rss_bytes * 1.3),
            gpu_bytes=usage.gpu_bytes,
        )
        outcome = [Outcome.PASSED, Outcome.FAILED, None, Outcome.SKIPPED, Outcome.NOT_RUN][position % 5]
        predictor.record_task_execution(task_id, seen, outcome)
    lines += ["# after it", *lines_of(predictor, names)]
    pairs = [("linear", 100.0, 1000.0), ("constant", 100.0, 1000.0), ("squared", 500.0, 1000.0), ("young", 1.0, 4.0)]
    for of, size, other in pairs:
        lines.append(line(of, predictor.get_resource_scaling_factor(f"sized.py::{of}", size, other)))
    together = predictor.predict_together("many", [Task(task_id=each, scope="many.py") for each in names[:20]])
    lines += [*together.sentences(), line(together.confidence, together.samples, together.why)]
    lines += predictor.predict_distribution(Task(task_id="many.py::on_gpu", scope="many.py")).sentences()
    facts = predictor.get_statistics()
    lines.append(line(facts.tests, facts.scopes, facts.learnt, facts.recorded, facts.censored))
    lines.append(line(facts.mean_wall_s, facts.peak_rss_bytes))
    golden(f"{name}.txt", "\n".join(lines) + "\n")


def test_what_experts_of_size_say(golden: Callable[[str, str], None]) -> None:
    laws: dict[str, Callable[[float, float], float]] = {
        "linear": lambda size, noise: 100 + size * (1 + noise / 20),
        "root": lambda size, noise: 40 * math.sqrt(size) * (1 + noise / 10),
        "power": lambda size, noise: 80 + size**1.5 / 40 * (1 + noise / 10),
        "constant": lambda size, noise: 900 * (1 + noise / 50),
        "steps": lambda size, noise: (400 if size < 700 else 1500) * (1 + noise / 30),
        "chance": lambda size, noise: 500 + 300 * (noise > 0),
    }
    lines = []
    for name, law in laws.items():
        for costs in (CostSettings(boosted=False), CostSettings(**{**_plain(SAFE), "boosted": False})):
            chance = Random(len(name))
            family = Family(costs)
            limit = 3000.0 * MIB
            for number in range(50):
                size, noise = chance.uniform(10, 1500), 2 * chance.random() - 1
                peak, seconds = law(size, noise) * MIB, 0.5 + chance.random()
                family.learn(size, peak, seconds)
                if number < 8 or number % 9 == 0:
                    bids = [value / MIB for at in (5.0, 600.0, 4000.0) for value in bid(family, at, limit)]
                    said = f"{family.predict(600.0, limit)[1]}; {family.catch_up(limit).sizes_vary}"
                    lines.append(f"{name} {number} {line(*bids)} {said}")
            scaling = family.scaling()
            lines.append(line(name, scaling.exponent, scaling.samples, scaling.trusted, family.largest / MIB))
    golden("predictions_by_size.txt", "\n".join(lines) + "\n")


def bid(family: Family, size: float, limit: float) -> tuple[float, float]:
    return family.predict(size, limit)[0], family.expect(size, limit)


def _plain(costs: CostSettings) -> dict[str, float]:
    return {name: getattr(costs, name) for name in ("failure_penalty", "cautious", "decay", "leaders", "least_bytes")}


def test_a_long_series_is_learnt_as_it_was(golden: Callable[[str, str], None]) -> None:
    """More than the 256 that are kept, and than the 32 candidates of which a factor is chosen."""
    chance = Random(3)
    experts = SizedMemory(CostSettings(boosted=False))
    lines = []
    for number in range(300):
        size = chance.uniform(10, 1500) * (3 if number > 250 else 1)
        peak = (50 + size) * (1 + chance.random() / 10) * MIB
        experts.learn(size, peak, 0.1 + chance.random(), 1e12)
        if number % 12 == 0:
            said = [experts.predict(at, 1e12) / MIB for at in (20.0, 800.0, 9000.0)]
            lines.append(f"{number} {line(*said, experts.expect(800.0) / MIB)} {experts.leader}")
    golden("predictions_long.txt", "\n".join(lines) + "\n")


def test_how_wide_intervals_become(golden: Callable[[str, str], None]) -> None:
    lines = []
    for jitter, coverage in ((0.0, 0.9), (JITTER_S, 0.9), (0.0, 0.5)):
        chance = Random(5)
        pool = Calibration(coverage, jitter=jitter)
        tests = [(Deviation(), 0.001 * 4**number, 0.05 * (number + 1)) for number in range(6)]
        for batch in range(14):
            for _ in range(chance.randrange(0, 40)):
                own, expected, width = tests[chance.randrange(6)]
                pool.observe(math.log(off(chance, width * (3 if batch > 9 else 1))), own, expected)
            pool.turn()
            wide = [value for own, expected, _ in tests[::2] for value in pool.interval(own, expected)]
            scores = [pool.score(level) for level in (0.0, 0.05, 0.5, 0.9, 0.99, 1.0)]
            others = [pool.deviation(None, 3.0), pool.factor(tests[1][0], 0.9, tests[1][1]), *pool.interval(None)]
            lines.append(line(batch, pool.samples, *wide, *scores, *others))
    golden("predictions_intervals.txt", "\n".join(lines) + "\n")
