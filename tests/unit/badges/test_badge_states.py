from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from recorded import leave_all

from drm._badges.states import badges_of
from drm.reporting.collect import build_report
from drm.reporting.report import Cell, Report, State

COUNTS = st.integers(-2, 3)


@given(st.sampled_from(State), COUNTS, COUNTS, st.booleans())
def test_only_tests_that_all_passed_and_are_fresh_are_passing(
    state: State, ran: int, passed: int, is_old: bool
) -> None:
    tests = Cell(state=state, ran=ran, passed=passed)
    report = Report(state=state, headline="", created_at="", drm_version="", tests=tests)
    (badge,) = badges_of(report, old=frozenset({"unit"} if is_old else ()))
    is_fine = state is State.PASSING and not is_old and passed == ran > 0
    assert (badge.state is State.PASSING) == is_fine
    assert badge.message.startswith("passing") == is_fine


def test_what_is_old_in_one_stage_is_old_for_whom_it_tests(tmp_path: Path) -> None:
    leave_all(tmp_path)
    states = {badge.name: badge.state for badge in badges_of(build_report(tmp_path), old=frozenset({"e2e"}))}
    assert states["drm_status"] is states["drm_e2e_test_status"] is states["drm_resource_optimizer_status"]
    assert states["drm_status"] is State.STALE
    assert states["drm_unit_test_status"] is State.PASSING
