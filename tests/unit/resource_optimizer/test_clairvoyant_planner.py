"""The planner that scaling is measured against knows the future, and makes something of it."""

from __future__ import annotations

import pytest

from benchmarks.scaling.clairvoyant import best_plan

SECONDS = [float(5 + number % 40) for number in range(400)]  # 9,800 s of work


def plan(*pushes: tuple[float, list[float]], value: float = 10.0, most: int = 1000) -> tuple[float, tuple[float, ...]]:
    made = best_plan(pushes, price=1.0, boot_s=60.0, value_of_time=value, most=most)
    assert made.bound_usd <= made.value_usd
    return made.cost_usd, made.makespans_s


def test_it_takes_the_number_of_workers_that_costs_least_together_with_time() -> None:
    """40 workers: the root of 10 x 9,800 / 60; a push takes a fortieth of the work."""
    cost, (makespan,) = plan((600.0, SECONDS))
    assert makespan == pytest.approx(sum(SECONDS) / 40, rel=0.1)
    assert cost == pytest.approx((sum(SECONDS) + 40 * 60) / 3600, rel=0.02)


def test_more_is_paid_where_time_is_worth_more() -> None:
    cheap, (slow,) = plan((600.0, SECONDS), value=1.0)
    dear, (fast,) = plan((600.0, SECONDS), value=100.0)
    assert cheap < dear
    assert fast < slow


def test_a_worker_that_is_free_when_the_next_push_comes_is_not_booted_again() -> None:
    _, (makespan,) = plan((600.0, SECONDS))
    apart, _ = plan((600.0, SECONDS), (6000.0, SECONDS))
    close, _ = plan((600.0, SECONDS), (600.0 + makespan + 1.0, SECONDS))
    assert close < apart


def test_one_long_test_is_given_no_more_workers_than_help() -> None:
    cost, (makespan,) = plan((600.0, [1000.0, *[1.0] * 100]), value=1000.0)
    assert makespan == 1000.0
    assert cost <= (1100 + 3 * 60) / 3600
