"""Options of the performance stage, the ``measure`` fixture, and the comparison at the end."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare
from drm.model.stages import component_of

BASELINES = Path(__file__).parent / "baselines"
LEAST_ROUNDS, QUICK_LEAST_ROUNDS, MOST_ROUNDS = 15, 3, 500
BUDGET_S, QUICK_BUDGET_S = (
    0.5,
    0.1,
)  # a short benchmark is repeated for so long: a slow spell of the machine does not cover all of it

MOST_AGAIN = 12

measured_key = pytest.StashKey[list[compare.Measurement]]()
lines_key = pytest.StashKey[list[str]]()
again_key = pytest.StashKey[dict[str, Callable[[], float]]]()  # by benchmark: measures it once more


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmarks", "performance stage")
    group.addoption("--quick", action="store_true", help="fewer rounds per benchmark")
    group.addoption("--update-baselines", action="store_true", help="store this run's times for this machine")
    group.addoption("--fail-on-regression", action="store_true", help="fail when a benchmark is slower than its limit")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick") and config.getoption("--update-baselines"):
        raise pytest.UsageError("--update-baselines needs all rounds; leave --quick out")
    config.stash[measured_key] = []
    config.stash[again_key] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "measure" in getattr(item, "fixturenames", ()):
            # cpu time, not wall time: what else runs on the machine counts less
            item.add_marker(pytest.mark.benchmark(timer=time.process_time, disable_gc=True))


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """``measure(function, iterations=1, setup=None, **figures)``: time it, return what it returns last.

    ``setup`` runs before every round, and what it returns are the arguments. Keep figures
    of quality by ``measure.extra[...] = ...`` or as keywords.
    """
    quick = bool(request.config.getoption("--quick"))

    def run(
        function: Callable[..., Any], *, iterations: int = 1, setup: Callable[[], Any] | None = None, **figures: Any
    ) -> Any:
        benchmark.extra_info.update(figures)
        arguments = (setup(),) if setup is not None else ()
        started = time.perf_counter()
        for _ in range(iterations):
            function(*arguments)
        rounds = _rounds(time.perf_counter() - started, quick=quick)
        request.config.stash[again_key][benchmark.name] = lambda: _least_s(function, setup, iterations, rounds)
        return benchmark.pedantic(
            function,
            setup=(lambda: ((setup(),), {})) if setup is not None else None,
            rounds=rounds,
            iterations=iterations,
        )

    run.extra = benchmark.extra_info  # type: ignore[attr-defined]
    yield run
    if benchmark.stats is not None:
        stats = benchmark.stats.stats
        if "events" in benchmark.extra_info:
            benchmark.extra_info["events_per_s"] = round(benchmark.extra_info["events"] / stats.min)
        request.config.stash[measured_key].append(
            compare.Measurement(
                name=benchmark.name,
                component=component_of(request.node.nodeid),
                min_s=stats.min,
                median_s=stats.median,
                mean_s=stats.mean,
                stddev_s=stats.stddev,
                rounds=stats.rounds,
                extra=dict(benchmark.extra_info),
            )
        )


def _rounds(one_s: float, *, quick: bool) -> int:
    """Return how many rounds of ``one_s`` seconds fill the budget, within limits."""
    least, budget_s = (QUICK_LEAST_ROUNDS, QUICK_BUDGET_S) if quick else (LEAST_ROUNDS, BUDGET_S)
    return max(least, min(MOST_ROUNDS, int(budget_s / max(one_s, 1e-9))))


def _least_s(function: Callable[..., Any], setup: Callable[[], Any] | None, iterations: int, rounds: int) -> float:
    """Return the least seconds of so many rounds, as pytest-benchmark takes them."""
    least_s = math.inf
    gc.disable()
    try:
        for _ in range(rounds):
            arguments = (setup(),) if setup is not None else ()
            started = time.process_time()
            for _ in range(iterations):
                function(*arguments)
            least_s = min(least_s, (time.process_time() - started) / iterations)
    finally:
        gc.enable()
    return least_s


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Compare with the baseline of this machine, or of another; write the figures; gate."""
    config = session.config
    measured = config.stash.get(measured_key, [])
    if not measured or hasattr(config, "workerinput"):
        return
    facts = compare.machine()
    own = compare.fingerprint(facts)
    stored_for = compare.nearest(BASELINES, own, (each.name for each in measured))
    stored_on = stored_for if stored_for != own else ""
    lines = config.stash.setdefault(lines_key, [])
    try:
        past = compare.load_baseline(BASELINES / f"{stored_for}.json")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        past = []
        lines.append(f"baseline {BASELINES / own}.json cannot be read ({error}): nothing is compared")
    quick = bool(config.getoption("--quick"))
    comparisons = compare.compare(measured, past, quick=quick, stored_on=stored_on)
    slower = {each.name for each in comparisons if each.verdict == compare.REGRESSED} & config.stash[again_key].keys()
    if 0 < len(slower) <= MOST_AGAIN:  # what else ran on the machine is over now, or it is the code
        measured = [_again(each, config.stash[again_key]) if each.name in slower else each for each in measured]
        comparisons = compare.compare(measured, past, quick=quick, stored_on=stored_on)
        lines.append(f"measured again at the end: {', '.join(sorted(slower))}")
    lines += [
        compared.describe() + compare.describe_figures(each.extra)
        for compared, each in zip(comparisons, measured, strict=True)
    ]
    lines += _write(config, facts, [] if stored_on else past, measured, comparisons)
    lines += [compare.describe_all(comparisons, 0.0 if stored_on else compare.slowed_together(measured, past))]
    gross = [each.name for each in comparisons if each.is_gross]
    if gross:
        lines.append(f"far slower, whatever the machine: {', '.join(gross)}")
    regressed = any(each.verdict == compare.REGRESSED for each in comparisons)
    if gross or (regressed and config.getoption("--fail-on-regression")):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _again(each: compare.Measurement, again: Mapping[str, Callable[[], float]]) -> compare.Measurement:
    try:
        return replace(each, min_s=min(each.min_s, again[each.name]()))
    except Exception:  # it changes what it works on, and has taken that apart since
        return each


def _write(
    config: pytest.Config,
    facts: dict[str, str | int],
    past: list[dict[str, float]],
    measured: list[compare.Measurement],
    comparisons: list[compare.Comparison],
) -> list[str]:
    """Write the stage's benchmark.json, and the baseline where asked to; return lines that say so, or why not.

    Benchmarks that are run by hand write no figures: the stage's may be there.
    """
    lines = []
    folder = os.environ.get("DRM_STAGE_FOLDER")
    quick = bool(config.getoption("--quick"))
    try:
        if folder:
            target = Path(folder) / "benchmark.json"
            compare.write_json(target, compare.report(measured, comparisons, facts, quick=quick))
            lines.append(f"figures: {os.path.relpath(target, config.rootpath)}")
        if config.getoption("--update-baselines"):
            path = BASELINES / f"{compare.fingerprint(facts)}.json"
            compare.store_baseline(path, facts, past, measured)
            lines.append(f"baseline stored: {path.name}")
    except OSError as error:
        lines.append(f"figures could not be written ({error})")
    return lines


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = config.stash.get(lines_key, [])
    if lines:
        terminalreporter.section("compared with stored baselines")
        for line in lines:
            terminalreporter.write_line(line)
