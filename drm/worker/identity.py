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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

import pytest
from _pytest.terminal import TerminalReporter

_WRITERS = {  # plugins that write a report of the whole run, and are not made in a worker
    ("_pytest.junitxml", "LogXML"),
    ("pytest_html.report", "Report"),
    ("pytest_html.selfcontained_report", "SelfContainedReport"),
    ("pytest_jsonreport.plugin", "JSONReport"),
    ("pytest_reportlog.plugin", "ReportLogPlugin"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who an executor is: ``executor_id`` is "gw0", "gw1", ...; ``basetemp`` the run's temp folder.

    ``given``: what plugins on the controller put into its ``workerinput``.
    """

    executor_id: str
    executor_count: int
    run_id: str
    basetemp: str
    given: Mapping[str, Any] = field(default_factory=dict)


def worker_input(identity: Identity) -> dict[str, Any]:
    """Return ``config.workerinput``, as pytest-xdist fills it."""
    return {
        "workerid": identity.executor_id,
        "workercount": identity.executor_count,
        "testrunuid": identity.run_id,
        "mainargv": list(sys.argv),
        **identity.given,
    }


def set_worker_input(config: pytest.Config, identity: Identity) -> None:
    """Mark the config and the environment as those of a worker."""
    config.workerinput = worker_input(identity)  # type: ignore[attr-defined]
    config.workeroutput = _metadata(config)  # type: ignore[attr-defined]
    os.environ["PYTEST_XDIST_WORKER"] = identity.executor_id
    os.environ["PYTEST_XDIST_WORKER_COUNT"] = str(identity.executor_count)
    os.environ["PYTEST_XDIST_TESTRUNUID"] = identity.run_id
    config.option.maxfail = 0  # the controller counts failures
    config.option.usepdb = False


def _metadata(config: pytest.Config) -> dict[str, Any]:
    """Return what pytest-metadata, when it is configured in a worker, puts into ``workeroutput``."""
    plugin = sys.modules.get("pytest_metadata.plugin")
    metadata = config.stash.get(plugin.metadata_key, None) if plugin is not None else None
    return {} if metadata is None else {"metadata": metadata}


def leave_controller(config: pytest.Config) -> None:
    """Take what is the controller's out of a fork of it: its plugin, and all that writes for the whole run."""
    controller = config.pluginmanager.get_plugin("drm-controller")
    if controller is not None:
        config.pluginmanager.unregister(controller)
    silence(config)
    _drop_writers(config)


def become_worker(config: pytest.Config, identity: Identity) -> None:
    """Turn a fork of a silent process into a worker, with its own capture, temp folder and identity."""
    set_worker_input(config, identity)
    _own_basetemp(config, Path(identity.basetemp) / f"popen-{identity.executor_id}")
    _own_capture(config)


class _Stdout:
    """Whatever is standard output at the moment: the capture of a test, mostly."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()

    def isatty(self) -> bool:
        return False


class _SilentReporter:
    """pytest's terminal reporter without its hooks: plugins find it, and may write; it tells nothing by itself."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter = TerminalReporter(config, cast(TextIO, _Stdout()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reporter, name)


def silence(config: pytest.Config) -> None:
    """Put a reporter that says nothing in the place of pytest's own."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        config.pluginmanager.unregister(reporter)
        config.pluginmanager.register(_SilentReporter(config), "terminalreporter")


def _drop_writers(config: pytest.Config) -> None:
    """Reports are the controller's to write. A worker under xdist has none of these plugins either."""
    from _pytest.junitxml import xml_key

    if xml_key in config.stash:
        del config.stash[xml_key]
    for plugin in config.pluginmanager.get_plugins():
        if (type(plugin).__module__, type(plugin).__name__) in _WRITERS:
            config.pluginmanager.unregister(plugin)


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
