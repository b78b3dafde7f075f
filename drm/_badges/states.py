"""Which badges a report has, and what each says. Pure.

Nothing is passing that had no test, contradicts itself, or is of another commit than it should be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from drm._badges.rendering import NO_TESTS, Badge
from drm.model.stages import COMPONENTS, STAGES
from drm.reporting.report import Cell, ComponentReport, Report, RunReport, StageReport, State
from drm.reporting.text import one_line

__all__ = ["absent_badges", "badges_of", "old_stages"]

OVERALL = "drm_status"
COVERAGE = "drm_coverage_status"
PERFORMANCE = "drm_performance_status"
_MOST_CHARACTERS = 60  # of a label: what is longer fits no README
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,60}")  # a report.json may come from anywhere, and its names become files'
_WELL, _FAIR = 80, 60  # percent of coverage


def badges_of(report: Report, *, label: str = "DRM", old: frozenset[str] = frozenset()) -> list[Badge]:
    """Return the badges of a report, the whole first; the rest only where a stage has run or is known of.

    ``old``: the stages whose results are stale, as ``old_stages`` gives them.
    """
    state = _aged(report.state, bool(old))
    why = report.headline
    if state is not report.state:
        stages = f" ({', '.join(sorted(old - {OVERALL}))})" if old - {OVERALL} else ""
        why = f"Stale: results are of another commit, or too old{stages}; {report.headline.partition(': ')[2]}"
    badges = [_badge(OVERALL, label, state, report.tests, why)]
    if any(stage.runs for stage in report.stages):
        badges += [_component(item, old) for item in report.components if _SAFE.fullmatch(item.slug)]
        badges += [_stage(stage, old) for stage in report.stages if _SAFE.fullmatch(stage.name)]
        badges += [_coverage(report, bool(old)), _performance(report, old)]
    return badges


def absent_badges(report: Report) -> Iterator[Badge]:
    """Yield badges for a report that says nothing of stages: those left from before would claim what nobody knows."""
    state = State.ERROR if report.state is State.ERROR and not report.sections else State.MISSING
    for component in COMPONENTS:
        yield _badge(_name(component.slug), component.title, state, NO_TESTS)
    for stage in STAGES:
        yield _badge(f"drm_{stage.name}_test_status", _stage_label(stage.name), state, NO_TESTS)
    yield _badge(COVERAGE, "Coverage", state, NO_TESTS)
    yield _badge(PERFORMANCE, "Performance", state, NO_TESTS)


def old_stages(report: Report, commit: str, max_age_s: float | None, now: datetime) -> frozenset[str]:
    """Return the stages that have a run of another commit, or one that started longer ago than ``max_age_s``.

    What does not say its commit or time is as good as old. ``commit`` may be shortened, or empty: any will do.
    """
    old = frozenset(
        stage.name for stage in report.sections if any(_is_old(run, commit, max_age_s, now) for run in stage.runs)
    )
    known = any(stage.runs for stage in report.sections)
    return old if known or not (commit or max_age_s is not None) else frozenset({OVERALL})


def _is_old(run: RunReport, commit: str, max_age_s: float | None, now: datetime) -> bool:
    if run.state is State.NO_TESTS and not run.summary.started_at:  # skipped or left out: it has no result to be old
        return False
    ours = run.summary.commit
    if commit and not (ours and (commit.startswith(ours) or ours.startswith(commit))):
        return True
    return max_age_s is not None and _age_s(run.summary.started_at, now) > max_age_s


def _age_s(started_at: str, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(started_at)).total_seconds()
    except (ValueError, TypeError):  # no time, or one without a zone
        return float("inf")


def _aged(state: State, is_old: bool) -> State:
    return State.STALE if is_old and state is State.PASSING else state


def _badge(name: str, label: str, state: State, tests: Cell, why: str = "") -> Badge:
    if state is State.PASSING and tests.passed != tests.ran:
        state, why = State.ERROR, f"it says passing, and that {tests.passed} of {tests.ran} tests passed"
    if state is State.PASSING and tests.ran <= 0:
        state = State.NO_TESTS
    message = state.words
    if state in (State.FAILING, State.PARTIAL, State.PASSING):
        message = f"{message} ({tests.passed}/{tests.ran})"
    elif state in (State.NO_TESTS, State.MISSING):
        message = "no status"
    shown = one_line(label, _MOST_CHARACTERS)
    return Badge(name=name, label=shown, message=one_line(message, _MOST_CHARACTERS), state=state, tests=tests, why=why)


def _component(item: ComponentReport, old: frozenset[str]) -> Badge:
    stages = {name for name, cell in item.cells if cell.state is State.PASSING}
    return _badge(_name(item.slug), item.title, _aged(item.state, bool(stages & old)), item.tests)


def _stage(stage: StageReport, old: frozenset[str]) -> Badge:
    state = _aged(stage.state, stage.name in old)
    why = stage.why if state is not State.STALE or stage.why else "of another commit, or too old"
    return _badge(f"drm_{stage.name}_test_status", _stage_label(stage.name), state, stage.tests, why)


def _name(slug: str) -> str:
    return f"drm_{slug.removeprefix('drm_')}_status"


def _stage_label(name: str) -> str:
    return "E2E tests" if name == "e2e" else f"{name.capitalize()} tests"


def _coverage(report: Report, is_old: bool) -> Badge:
    if report.coverage is None:
        problem = next((problem for problem in report.problems if "coverage.json" in problem.partition(":")[0]), "")
        state = State.ERROR if problem else State.MISSING
        return _badge(COVERAGE, "Coverage", state, NO_TESTS, problem or "no coverage was measured")
    if not 0 <= report.coverage.percent <= 100:
        return _badge(COVERAGE, "Coverage", State.ERROR, NO_TESTS, "the figure is no percentage")
    percent = int(report.coverage.percent)  # rounded down: 99.9% is not 100%
    state = State.PASSING if percent >= _WELL else State.PARTIAL if percent >= _FAIR else State.FAILING
    state = _aged(state, is_old)
    message = state.words if state is State.STALE else f"{percent}%"
    return Badge(name=COVERAGE, label="Coverage", message=message, state=state)


def _performance(report: Report, old: frozenset[str]) -> Badge:
    """Return how the benchmarks compare with the stored baselines; those that have none say nothing."""
    problem = next((problem for problem in report.problems if "benchmark.json" in problem.partition(":")[0]), "")
    compared = [benchmark for benchmark in report.benchmarks if benchmark.baseline_s is not None]
    slower = [benchmark.name for benchmark in compared if benchmark.verdict == "regressed"]
    stage = next((stage for stage in report.stages if stage.name == "performance"), None)
    standing = State.PASSING if stage is None else _aged(stage.state, stage.name in old)
    if problem:
        state, message, why = State.ERROR, "error", problem
    elif slower:
        state, message, why = State.FAILING, f"{len(slower)} of {len(compared)} slower", ", ".join(slower)
    elif not compared:
        state, message, why = State.MISSING, "no status", "nothing was compared with a stored baseline"
    elif stage is not None and standing is not State.PASSING:  # what is left of it does not stand for all
        state, message, why = standing, standing.words, stage.why
    else:
        state, message, why = State.PASSING, f"steady ({len(compared)})", ""
    return Badge(name=PERFORMANCE, label="Performance", message=message, state=state, why=why)
