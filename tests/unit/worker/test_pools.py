"""How wide libraries may make their pools of threads."""

from __future__ import annotations

import pytest

from drm.worker.pools import ThreadPools, bound_thread_pools


@pytest.mark.parametrize(("cores", "threads"), [(1.0, "1"), (0.25, "1"), (2.9, "2"), (4.0, "4")])
def test_pools_are_as_wide_as_a_test_has_cores(cores: float, threads: str) -> None:
    environment: dict[str, str] = {}
    bound_thread_pools(environment, cores)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS")
    assert {environment[name] for name in names} == {threads}


def test_what_the_user_set_stays() -> None:
    environment = {"OMP_NUM_THREADS": "3", "POLARS_MAX_THREADS": "5"}
    bound_thread_pools(environment, 1.0)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["POLARS_MAX_THREADS"] == "5"
    assert "OPENBLAS_NUM_THREADS" not in environment, "it goes by OMP_NUM_THREADS"
    assert environment["RAYON_NUM_THREADS"] == "1"
    ThreadPools(environment).bound(2.0)
    assert (environment["OMP_NUM_THREADS"], environment["RAYON_NUM_THREADS"]) == ("3", "2")


def test_a_worker_inside_the_run_goes_on_with_what_was_set() -> None:
    environment: dict[str, str] = {}
    bound_thread_pools(environment, 1.0)
    before = dict(environment)
    bound_thread_pools(environment, 4.0)
    assert environment == before
    pools = ThreadPools(environment)
    pools.bound(1.0)
    assert environment == before
    pools.bound(2.0)
    assert environment["MKL_NUM_THREADS"] == "2"
    pools.bound(0.5)
    assert environment == before


def test_without_bounds_nothing_is_touched() -> None:
    environment: dict[str, str] = {}
    ThreadPools(environment).bound(2.0)
    assert environment == {}


def test_pools_that_collection_widened_are_bound_again() -> None:
    """scikit-learn's conftest.py sets as many threads as the machine has cores, in the process that is then forked."""
    pytest.importorskip("numpy")
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def widest() -> int:
        return max(pool["num_threads"] for pool in threadpoolctl.threadpool_info())

    environment: dict[str, str] = {}
    bound_thread_pools(environment, 1.0)
    with threadpoolctl.threadpool_limits(limits=2):
        assert widest() == 2
        ThreadPools(environment).bound(1.0)
        assert widest() == 1
