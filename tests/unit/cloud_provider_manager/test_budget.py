"""The cap on what can be spent, whatever happens."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cloud_provider_manager.budget import Budget, BudgetError, Commitment, committed_usd
from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError
from drm.model.resources import Resources

HOUR = 3600.0


def priced(usd_per_hour: float, provider: str = "aws") -> WorkerType:
    return WorkerType(name="t", capacity=Resources(cpu_cores=1), usd_per_hour=usd_per_hour, provider=provider)


def held(since_s: float, ended_s: float | None = None, usd_per_hour: float = 1.0) -> Commitment:
    return Commitment(usd_per_hour=usd_per_hour, since_s=since_s, lease_end_s=since_s + 2 * HOUR, ended_s=ended_s)


def test_committed_is_the_lease_of_what_lives_and_the_time_of_what_has_ended() -> None:
    assert committed_usd([held(0.0), held(0.0, ended_s=HOUR / 2), held(5.0, ended_s=5.0)]) == 2.5


def test_pending_and_running_count_to_the_end_of_their_lease() -> None:
    budget = Budget(usd=5.0)
    budget.check(priced(1.0), [held(0.0)], now_s=100.0, lease_s=2 * HOUR)
    with pytest.raises(BudgetError, match=r"can cost 2\.0000 USD.* 4\.0000 of 5\.0000 USD"):
        budget.check(priced(1.0), [held(0.0), held(0.0)], now_s=100.0, lease_s=2 * HOUR)


def test_without_a_budget_only_what_is_free_is_made() -> None:
    Budget().check(priced(0.0, "local"), [], now_s=0.0, lease_s=HOUR)
    with pytest.raises(BudgetError, match="no budget is set"):
        Budget().check(priced(0.01), [], now_s=0.0, lease_s=HOUR)


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf])
def test_a_price_that_cannot_be_is_not_bought(price: float) -> None:
    with pytest.raises(ConfigError, match="is not bought"):
        Budget(usd=1e9).check(priced(price), [], now_s=0.0, lease_s=HOUR)


def test_workers_and_rate_are_capped() -> None:
    with pytest.raises(BudgetError, match="2 workers of at most 2"):
        Budget(usd=99, workers=2).check(priced(1.0), [held(0.0), held(0.0)], now_s=1.0, lease_s=1.0)
    ended = [held(0.0, ended_s=1.0), held(30.0, ended_s=31.0)]
    with pytest.raises(BudgetError, match="2 workers were made in the last minute"):
        Budget(usd=99, per_minute=2).check(priced(1.0), ended, now_s=59.9, lease_s=1.0)
    Budget(usd=99, per_minute=2).check(priced(1.0), ended, now_s=60.0, lease_s=1.0)


@pytest.mark.parametrize("cap", [{"usd": -1.0}, {"usd": math.nan}, {"workers": -1}, {"per_minute": -1}])
def test_a_cap_that_is_no_amount_is_refused(cap: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="is no amount"):
        Budget(**cap)  # type: ignore[arg-type]


@given(
    st.floats(0, 20),
    st.lists(st.tuples(st.floats(0.01, 5), st.floats(1, 9000), st.floats(0, 500)), max_size=20),
)
def test_what_is_committed_never_passes_the_cap(usd: float, asks: list[tuple[float, float, float]]) -> None:
    made: list[Commitment] = []
    now_s = 0.0
    for price, lease_s, passes_s in asks:
        now_s += passes_s
        try:
            Budget(usd=usd).check(priced(price), made, now_s=now_s, lease_s=lease_s)
        except BudgetError:
            continue
        made.append(Commitment(usd_per_hour=price, since_s=now_s, lease_end_s=now_s + lease_s))
        assert committed_usd(made) <= usd + 1e-9
