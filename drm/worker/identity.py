"""Making a process a worker in every respect that pytest's plugins look at.

The names are pytest-xdist's, because plugins know those: ``config.workerinput``,
PYTEST_XDIST_WORKER and friends (https://pytest-xdist.readthedocs.io, "How to").
"""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who an executor is: ``executor_id`` is "gw0", "gw1", ...; ``basetemp`` the run's temp folder."""

    executor_id: str
    executor_count: int
    run_id: str
    basetemp: str


def set_worker_input(config: pytest.Config, identity: Identity) -> None:
    """Mark the config and the environment as those of a worker."""
    config.workerinput = {  # type: ignore[attr-defined]
        "workerid": identity.executor_id,
        "workercount": identity.executor_count,
        "testrunuid": identity.run_id,
        "mainargv": list(sys.argv),
    }
    config.workeroutput = {}  # type: ignore[attr-defined]
    os.environ["PYTEST_XDIST_WORKER"] = identity.executor_id
    os.environ["PYTEST_XDIST_WORKER_COUNT"] = str(identity.executor_count)
    os.environ["PYTEST_XDIST_TESTRUNUID"] = identity.run_id
    config.option.maxfail = 0  # the controller counts failures
    config.option.usepdb = False


def become_worker(config: pytest.Config, identity: Identity) -> None:
    """Turn a fork of the controller into a worker: silent, with its own capture, temp folder and identity."""
    set_worker_input(config, identity)
    manager = config.pluginmanager
    for name in ("terminalreporter", "drm-controller"):
        plugin = manager.get_plugin(name)
        if plugin is not None:
            manager.unregister(plugin)
    _drop_junit(config)
    _own_basetemp(config, Path(identity.basetemp) / f"popen-{identity.executor_id}")
    _own_capture(config)


def _drop_junit(config: pytest.Config) -> None:
    """The controller writes junit.xml. A worker under xdist has no such plugin either."""
    from _pytest.junitxml import xml_key

    xml = config.stash.get(xml_key, None)
    if xml is not None:
        del config.stash[xml_key]
        config.pluginmanager.unregister(xml)


def _own_basetemp(config: pytest.Config, basetemp: Path) -> None:
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is None:  # -p no:tmpdir
        return
    own = copy.copy(factory)
    own._given_basetemp, own._basetemp = basetemp, None
    own._exit_stack = contextlib.ExitStack()  # removing old folders is the controller's business
    own._next_number = {}
    _replace_factory(config, factory, own)


def _replace_factory(config: pytest.Config, factory: Any, own: Any) -> None:
    config._tmp_path_factory = own  # type: ignore[attr-defined]
    legacy = getattr(config, "_tmpdirhandler", None)
    if legacy is not None and getattr(legacy, "_tmppath_factory", None) is factory:
        legacy._tmppath_factory = own


def shed_capture(config: pytest.Config) -> None:
    """In a fresh fork: forget the controller's capture without reading its files, which are shared."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # under -W error it would fail the first test
            capture._global_capturing = None


def _own_capture(config: pytest.Config) -> None:
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is not None and capture._global_capturing is None:
        capture.start_global_capturing()
        capture.suspend_global_capture(in_=False)
