"""The rules by which runs, stages, components and the whole are given a state. Pure.

Nothing is passing that did not run to its end, had no test, or could not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from drm.model.stages import COMPONENTS, Component, Stage
from drm.model.work import Outcome
from drm.reporting.report import LEFT_OUT, Cell, ComponentReport, RunReport, StageReport, State, StatusFile
from drm.reporting.text import counts_text, one_line, plural
from drm.summary import RunSummary, TestRecord

__all__ = ["cell_of", "components", "headline", "judge_run", "judge_stage", "names_left_out", "overall", "worst"]

_SEVERITY = (State.ERROR, State.FAILING, State.PARTIAL, State.STALE, State.PASSING, State.NO_TESTS, State.MISSING)
_SKIPPED = ("skipped", LEFT_OUT)
_NO_TESTS_EXIT = 5  # pytest's exit code for "no tests collected"


def worst(states: Iterable[State]) -> State:
    """Return the worst of the states; MISSING when there is none."""
    return min(states, key=_SEVERITY.index, default=State.MISSING)


def judge_run(
    summary: RunSummary | None, status: StatusFile | None, exit_code: int | None, damage: str
) -> tuple[State, str]:
    """Return the state of one run and why; ``exit_code`` is what results.json says, ``damage`` the first bad file."""
    if damage:
        return State.ERROR, damage
    told = f": {one_line(status.reason)}" if status is not None and status.reason else ""
    if summary is None:
        if status is not None and status.status in _SKIPPED:
            return State.NO_TESTS, one_line(status.reason) or "the project has no such tests"
        if status is not None and status.status == "passed":
            return State.NO_TESTS, "the session passed but left no record of a test"
        return State.ERROR, f"the session ended before any test ran{told}"
    if not summary.finished:
        return State.ERROR, f"the run did not finish{told}"
    if summary.bad:
        ran = summary.collected - summary.count(Outcome.SKIPPED) - summary.count(Outcome.NOT_RUN)
        return State.FAILING, f"{summary.bad} of {plural(ran, 'test')} did not pass"
    not_run = summary.count(Outcome.NOT_RUN)
    if not_run:
        cause = f": {one_line(summary.reason)}" if summary.reason else told
        return State.ERROR, f"{plural(not_run, 'test')} did not run{cause}"
    code = exit_code if exit_code is not None else status.exit_code if status is not None else None
    if code not in (None, 0, _NO_TESTS_EXIT):
        return State.ERROR, f"pytest ended with exit code {code} although no test failed{told}"
    if status is not None and status.status != "passed" and code != _NO_TESTS_EXIT:
        return State.ERROR, f"the session ended as {one_line(status.status, 40)} although no test failed{told}"
    if cell_of(summary.tests).ran == 0:
        return State.NO_TESTS, f"no test ran ({counts_text(summary)})" if summary.collected else "there was no test"
    return State.PASSING, ""


def cell_of(tests: Iterable[TestRecord]) -> Cell:
    """Count the tests; the state is that of the tests alone."""
    collected = bad = skipped = not_run = 0
    wall_s = 0.0
    for test in tests:
        collected += 1
        wall_s += test.wall_s
        bad += test.outcome.is_bad
        skipped += test.outcome is Outcome.SKIPPED
        not_run += test.outcome is Outcome.NOT_RUN
    ran = collected - skipped - not_run
    state = State.FAILING if bad else State.PARTIAL if not_run else State.PASSING if ran else State.NO_TESTS
    return Cell(
        state=state,
        collected=collected,
        ran=ran,
        passed=ran - bad,
        skipped=skipped,
        not_run=not_run,
        wall_s=wall_s,
    )


def judge_stage(stage: Stage, runs: Sequence[RunReport], newest_commit: str) -> StageReport:
    """Return how the stage stands: the worst of its runs, partial when components were left out."""
    tests = cell_of(test for run in runs for test in run.summary.tests)
    state = worst(run.state for run in runs)
    bad = next((run for run in runs if run.state is state), None)
    why = "has not run" if bad is None else bad.why
    if bad is not None and len(runs) > 1 and why:
        why = f"{bad.name}: {why}"
    left_out = _left_out(runs)
    if state in (State.PASSING, State.NO_TESTS) and runs:
        other = next((run for run in runs if _is_other(run, newest_commit)), None)
        if left_out:
            state, why = State.PARTIAL, f"ran without {', '.join(left_out)}"
        elif other is not None:
            state, why = (
                State.STALE,
                f"ran on commit {other.summary.commit[:12]}, the newest run on {newest_commit[:12]}",
            )
    return StageReport(name=stage.name, title=stage.summary, state=state, why=why, tests=tests, runs=tuple(runs))


def _is_other(run: RunReport, newest_commit: str) -> bool:
    return bool(newest_commit and run.summary.commit and run.summary.commit != newest_commit)


def _left_out(runs: Sequence[RunReport]) -> list[str]:
    """Return the components that no run covered; a run without a list of components covers them all."""
    covered: set[str] = set()
    for run in runs:
        if run.status is None or not run.status.components:
            return []
        covered.update(run.status.components)
    names = _own_components(runs)
    slugs = names if names is not None else tuple(component.slug for component in COMPONENTS)
    return [slug for slug in slugs if slug not in covered]


def _own_components(runs: Iterable[RunReport]) -> tuple[str, ...] | None:
    """Return the components that the project says it has; None where it says nothing: those of DRM's own table."""
    told = (run.status.of_components for run in runs if run.status is not None)
    return next((names for names in told if names is not None), None)


def _table(stages: Sequence[StageReport]) -> tuple[tuple[Component, ...], Callable[[TestRecord], str]]:
    """Return the components of a report's rows, and what tells that of a test."""
    names = _own_components(run for stage in stages for run in stage.runs)
    if names is None:
        return COMPONENTS, lambda test: test.component
    if not names:
        return (), lambda _: ""
    *named, rest = names
    rows = (*(Component(slug=name, title=name, class_name=name) for name in named), Component(slug=rest, title=rest))
    return rows, lambda test: next((name for name in named if name in _folders(test)), rest)


def _folders(test: TestRecord) -> list[str]:
    return test.task_id.partition("::")[0].split("/")


def _is_skipped(stage: StageReport) -> bool:
    """Tell whether the project has no such tests, or was asked to leave them out, and says so: nothing is missing."""
    return bool(stage.runs) and all(run.status is not None and run.status.status in _SKIPPED for run in stage.runs)


def names_left_out(stages: Iterable[StageReport]) -> tuple[str, ...]:
    """Return the runs that were left out because somebody asked for it: stages, and parts such as ``unit-api``."""
    runs = (run for stage in stages for run in stage.runs)
    return tuple(run.name for run in runs if run.status is not None and run.status.status == LEFT_OUT)


def components(stages: Sequence[StageReport], by_component: frozenset[str]) -> tuple[ComponentReport, ...]:
    """Return every component across the stages; ``by_component``: the stages that test each alone."""
    reports = []
    rows, component_of = _table(stages)
    for component in rows:
        tests = {
            stage.name: [t for run in stage.runs for t in run.summary.tests if component_of(t) == component.slug]
            for stage in stages
        }
        required = by_component if component.class_name else frozenset()
        cells = tuple((stage.name, _cell(stage, tests[stage.name], stage.name in required)) for stage in stages)
        state = worst(cell.state for _, cell in cells)
        if state is State.PASSING and any(name in required and cell.state in _NOTHING for name, cell in cells):
            state = State.PARTIAL
        total = cell_of(test for found in tests.values() for test in found)
        reports.append(
            ComponentReport(slug=component.slug, title=component.title, state=state, tests=total, cells=cells)
        )
    return tuple(reports)


_NOTHING = (State.MISSING, State.NO_TESTS)


def _cell(stage: StageReport, tests: Sequence[TestRecord], required: bool) -> Cell:
    """Return the component's tests in the stage; a stage that broke says nothing good about whom it tests."""
    cell = cell_of(tests)
    state = cell.state
    if stage.state is State.MISSING:
        state = State.MISSING
    elif stage.state is State.ERROR and (tests or required):
        state = State.ERROR
    elif stage.state is State.STALE and state is State.PASSING:
        state = State.STALE
    return replace(cell, state=state)


def overall(stages: Sequence[StageReport], own_run: StageReport | None) -> State:
    """Return the state of the whole: of the stages if any has run, else of the user's own run."""
    if all(stage.state is State.MISSING for stage in stages):
        return own_run.state if own_run is not None else State.MISSING
    counted = [stage for stage in stages if not _is_skipped(stage)]
    if not counted:
        return State.NO_TESTS
    return worst(State.PARTIAL if stage.state in _NOTHING else stage.state for stage in counted)


def headline(state: State, stages: Sequence[StageReport], own_run: StageReport | None, tests: Cell) -> str:
    """Return the verdict in one sentence."""
    ran = [stage for stage in stages if stage.state is not State.MISSING] or ([own_run] if own_run else [])
    if not ran:
        return "Nothing has run: there is no result of any stage here."
    passed = f"{tests.passed} of {plural(tests.ran, 'test')} passed"
    tested = [stage for stage in ran if not _is_skipped(stage)]
    if len(tested) > 1:
        passed += f" in {plural(len(tested), 'stage')}"
    absent = [stage.name for stage in stages if stage.state in _NOTHING and not _is_skipped(stage)]
    absent = absent if own_run is not ran[0] else []
    culprits = [stage for stage in ran if stage.state is state]
    if state in (State.ERROR, State.FAILING, State.STALE) and culprits:
        reasons = "; ".join(f"{stage.name}: {stage.why}" for stage in culprits[:3])
        return f"{state.words.capitalize()}: {passed}; {reasons}."
    if state is State.PARTIAL:
        parts = [f"{stage.name}: {stage.why}" for stage in culprits[:3]]
        parts += [f"no result from {', '.join(absent)}"] if absent else []
        return f"Partial: {passed}; {'; '.join(parts)}."
    if state is State.PASSING:
        skipped = f", {tests.skipped} skipped" if tests.skipped else ""
        without = ", ".join(names_left_out(stages))
        return f"Passing: {passed}{skipped}{f'; left out: {without}' if without else ''}."
    return "No test ran, so nothing passed."
