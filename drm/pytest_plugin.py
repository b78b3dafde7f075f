"""The pytest plugin: options, the marker, and with ``--drm`` a controller in place of pytest's own loop.

Parses, calls and prints; what it calls is imported only when ``--drm`` is given, so that a
plain pytest run pays nothing for it.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from drm.added_options import add_options

if TYPE_CHECKING:
    from drm.controller import Controller
    from drm.worker.once import Once

_MARKER = (
    "drm(cpu=1, memory=None, gpu=0, labels=None, lock=None, shared_lock=None, serial=False, resources=None, "
    "group=None, timeout=None, idempotent=False): "
    'what the test requires of the worker that runs it, such as cpu=2, memory="4GiB", lock="db"'
)
_GROUP_MARKER = "xdist_group(name): tests of one group run on one executor, one after another"


class XdistFixtures:
    """The fixtures of pytest-xdist, for suites that use them where it is not installed."""

    @pytest.fixture(scope="session")
    def worker_id(self, request: pytest.FixtureRequest) -> str:
        """Return the id of the executor that runs the test, such as "gw0", or "master" where there is none."""
        return str(getattr(request.config, "workerinput", {"workerid": "master"})["workerid"])

    @pytest.fixture(scope="session")
    def testrun_uid(self, request: pytest.FixtureRequest) -> str:
        """Return an id that all executors of a run share and no other run has."""
        given = getattr(request.config, "workerinput", None)
        return str(given["testrunuid"]) if given is not None else uuid.uuid4().hex


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser.getgroup("drm", "dynamic resource management").addoption)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Bound thread pools before a conftest.py can load the libraries that start them, and see what is open by then."""
    options = early_config.known_args_namespace
    if options.drm:
        with _no_rewriting(early_config):
            from drm.model.errors import DrmError
            from drm.settings import read_settings
            from drm.worker.pools import bound_thread_pools
            from drm.worker.shared_descriptors import OPEN_BEFORE, open_descriptors

        early_config.stash[OPEN_BEFORE] = open_descriptors()
        with suppress(DrmError):  # the controller reads them again, and says so
            settings = read_settings(early_config.rootpath)
            if not _runs_in_this_process(options, settings.options):
                bound_thread_pools(os.environ, settings.requirements.get("cpu", 1.0))


def _runs_in_this_process(options: argparse.Namespace, settings: Mapping[str, str]) -> bool:
    """Tell whether no other process is to run tests, by what is asked for: then they find what they find in pytest."""
    if options.drm_coordinator or options.drm_workers or settings.get("workers"):
        return False
    executors = options.drm_executors if options.drm_executors is not None else settings.get("executors", "")
    return executors.strip() in ("0", "0..0")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if config.getoption("drm"):
        # The controller takes what was collected out of sight of the garbage collector. It comes back at the very
        # end (what is cleaned up last was asked for first), and need not be searched when the interpreter ends.
        config.add_cleanup(gc.unfreeze)
        atexit.register(gc.freeze)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tests in quarantine, in every process that collects them."""
    if not config.getoption("drm"):
        return
    with _no_rewriting(config):
        from drm.model.errors import DrmError
        from drm.quarantine import put_in_quarantine
        from drm.settings import read_settings

    with suppress(DrmError):  # the controller reads them too, and says so
        put_in_quarantine(items, read_settings(config.rootpath).patterns.get("quarantine", ()))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    if not (config.pluginmanager.has_plugin("xdist") or config.pluginmanager.has_plugin("xdist.plugin")):
        config.addinivalue_line("markers", _GROUP_MARKER)
        config.pluginmanager.register(XdistFixtures(), "drm-xdist-fixtures")
    if not config.getoption("drm") or hasattr(config, "workerinput"):
        return
    if getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None):
        raise pytest.UsageError("--drm and pytest-xdist's -n both distribute tests; use one of them")
    config.pluginmanager.register(_controller(config), "drm-controller")
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not config.getoption("collectonly"):
        reporter.showfspath = False  # tests of many files end in between each other


@pytest.fixture(scope="session")
def drm_once(request: pytest.FixtureRequest) -> Iterator[Once]:
    """``drm_once(name, factory, teardown=None)``: a value made once per run, shared by all its processes."""
    from drm.worker.once import Once, folder_of

    once = Once(folder_of(request.config))
    yield once
    once.close()


def _controller(config: pytest.Config) -> Controller:
    with _no_rewriting(config):
        from drm.controller import Controller
        from drm.model.errors import DrmError

    try:
        return Controller(config)
    except DrmError as error:
        raise pytest.UsageError(str(error)) from None


@contextmanager
def _no_rewriting(config: pytest.Config) -> Iterator[None]:
    """Import without pytest's assertion rewriting, which it turns on for every module of a plugin.

    DRM has no assertions that need it, and it triples the time that importing takes.
    """
    hook: Any = config.pluginmanager.rewrite_hook
    if hook not in sys.meta_path:
        yield
        return
    place = sys.meta_path.index(hook)
    sys.meta_path.remove(hook)
    try:
        yield
    finally:
        sys.meta_path.insert(place, hook)
