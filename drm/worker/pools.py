"""Bounding the pools of threads that numerical libraries start, so that executors do not fight for cores.

A library reads its variable when it is loaded, which for a forked executor was in the controller: so they are set
before any conftest.py is. A test that reserves another number of cores finds the variables so; pools that are there
already can be resized only by threadpoolctl, if it is installed.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from contextlib import suppress

_OMP = "OMP_NUM_THREADS"
_AS_OMP = (  # these do as OMP_NUM_THREADS says where they are not set themselves
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_OTHERS = ("VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS")
_OURS = "DRM_BOUNDED"  # the variables that DRM has set, for processes that inherit them


def bound_thread_pools(environment: MutableMapping[str, str], cores: float) -> None:
    """Let libraries loaded from now on start that many threads each (at least one), unless the user said otherwise."""
    if _OURS in environment:
        return
    names = _OTHERS if _OMP in environment else (_OMP, *_AS_OMP, *_OTHERS)
    ours = [name for name in names if name not in environment]
    environment.update(dict.fromkeys(ours, str(_threads(cores))))
    environment[_OURS] = " ".join(ours)


def _threads(cores: float) -> int:
    return max(1, int(cores))


class ThreadPools:
    """The pools of one executor, as wide as its next tests have cores."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._environment = environment
        self._ours = environment.get(_OURS, "").split()
        self._threads = 0  # not known: a conftest.py may have widened pools while the suite was collected

    def bound(self, cores: float) -> None:
        threads = _threads(cores)
        if threads == self._threads or not self._ours:
            return
        self._threads = threads
        self._environment.update(dict.fromkeys(self._ours, str(threads)))
        if _OMP in self._ours and "numpy" in sys.modules:  # else no pool that threadpoolctl knows is likely there
            with suppress(ImportError):
                from threadpoolctl import threadpool_limits

                threadpool_limits(limits=threads)
