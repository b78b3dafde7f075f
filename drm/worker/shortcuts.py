"""What pytest works out anew for every test, and an executor need only once.

Each gives what pytest itself gave for an earlier test of the same file. Measured on tests that do
nothing, where all that counts is pytest's own work: a sixth of an executor's time.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from drm.worker.hook_calls import prepared_calls


def keep_hook_proxies(session: pytest.Session) -> None:
    """Remember per file which conftest.py files its hooks include: no more are loaded once tests run."""
    found: dict[Path, Any] = {}
    look_up = session.gethookproxy
    direct = _direct_calls(session.config)

    def gethookproxy(path: Path) -> Any:
        proxy = found.get(path)
        if proxy is None:
            hooks = look_up(path)
            proxy = found[path] = _Hooks(hooks, {**prepared_calls(session.config, hooks), **direct})
        return proxy

    session.gethookproxy = gethookproxy  # type: ignore[method-assign,assignment]


class _Hooks:
    """The hooks of one file; those in ``direct`` without pluggy's way of calling them."""

    def __init__(self, proxy: Any, direct: dict[str, Callable[..., None]]) -> None:
        self._proxy = proxy
        self.__dict__.update(direct)

    def __getattr__(self, name: str) -> Any:
        hook = self.__dict__[name] = getattr(self._proxy, name)
        return hook


def _direct_calls(config: pytest.Config) -> dict[str, Callable[..., None]]:
    """Return how to call the hooks that tell of a test's progress, where nobody listens but pytest and the executor.

    pytest's logging does nothing in them but remember the phase for live logs, which executors do not show.
    """
    calls: dict[str, Callable[..., None]] = {}
    for name in ("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish"):
        listeners = [
            entry.function
            for entry in reversed(getattr(config.hook, name).get_hookimpls())
            if entry.function.__module__ != "_pytest.logging"
        ]
        if all(function.__module__ in ("_pytest.main", "drm.worker.executor") for function in listeners):
            calls[name] = _one_after_another(listeners)
    return calls


def _one_after_another(functions: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def call(**arguments: Any) -> None:
        for function in functions:
            function(**arguments)

    return call


class Locations:
    """``item.location`` of plain test functions, without asking the file system for each."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}

    def settle(self, item: pytest.Item) -> None:
        """Give a function its location where pytest has found that of another one in its source file."""
        if type(item) is not pytest.Function or "location" in item.__dict__:
            return
        function = getattr(item.obj, "__func__", item.obj)
        if type(function) is not FunctionType or function.__dict__.keys() - {"pytestmark"}:  # it may wrap another
            return
        code = function.__code__
        path = self._paths.get(code.co_filename)
        if path is None:
            self._paths[code.co_filename] = item.location[0]
        else:
            item.__dict__["location"] = (path, code.co_firstlineno - 1, item.getmodpath())


def protocol_of(config: pytest.Config) -> Callable[..., Any]:
    """Return how to call ``pytest_runtest_protocol``, once no more plugins are registered."""
    return prepared_calls(config, config.hook).get("pytest_runtest_protocol", config.hook.pytest_runtest_protocol)


def take_shortcuts(session: pytest.Session) -> None:
    """Spare this process what only a session with a terminal needs. For executors, before their first test."""
    keep_hook_proxies(session)
    capture_without_pause(session.config)
    filter_warnings_as_before(session.config)
    with suppress(ImportError, AttributeError):  # a pytest that is built differently does it its own way
        catch_logs_directly(session.config)


def filter_warnings_as_before(config: pytest.Config) -> None:
    """Apply the configured filters of warnings in one step while they go on top of the same ones as the last time."""
    apply: Any = getattr(config, "_catch_configured_warnings", None)
    mutated = getattr(warnings, "_filters_mutated", None)
    if apply is None or mutated is None:  # before pytest 9.1 a function does it; Python 3.14 has filters per context
        return
    before: list[Any] = []
    after: list[Any] = []

    @contextmanager
    def caught(*, record: bool) -> Iterator[list[warnings.WarningMessage] | None]:
        nonlocal before, after
        with warnings.catch_warnings(record=record) as log:
            if warnings.filters != before or not after:
                before = list(warnings.filters)
                with apply(record=False):
                    after = list(warnings.filters)
            warnings.filters[:] = after  # type: ignore[index]
            mutated()
            yield log

    config._catch_configured_warnings = caught  # type: ignore[method-assign]


def capture_without_pause(config: pytest.Config) -> None:
    """Leave capturing on between the phases of tests.

    pytest turns it off for its own output, at the price of six switches of file descriptors a test, and an
    executor prints nothing. What a plugin writes in between still goes where it would have gone.
    """
    manager: Any = config.pluginmanager.get_plugin("capturemanager")
    if manager is None or manager._global_capturing is None:
        return

    capturing = manager._global_capturing
    streams = [(name, stream) for name, stream in (("stdout", capturing.out), ("stderr", capturing.err)) if stream]

    class Captured:
        def __init__(self, when: str, item: pytest.Item) -> None:
            self._when = when
            self._item = item

        def __enter__(self) -> None:
            capturing.resume_capturing()
            for _, stream in streams:
                early = stream.snap()
                if early:
                    stream.writeorg(early)
            manager.activate_fixture()

        def __exit__(self, *_: object) -> None:
            manager.deactivate_fixture()
            for name, stream in streams:
                text = stream.snap()
                if text:
                    self._item.add_report_section(self._when, name, text)

    manager.item_capture = Captured


def catch_logs_directly(config: pytest.Config) -> None:
    """Put pytest's two handlers of log records in their place without the lock that threads would need.

    Not when a level is asked for, which has to be set and reset with them.
    """
    from _pytest.logging import caplog_handler_key, caplog_records_key

    plugin: Any = config.pluginmanager.get_plugin("logging-plugin")
    if plugin is None or plugin.log_level is not None or not hasattr(plugin._runtest_for, "__wrapped__"):
        return  # before pytest 9 it is a generator, and no context manager
    root, own, shown = logging.getLogger(), plugin.caplog_handler, plugin.report_handler

    class Caught:
        def __init__(self, item: pytest.Item, when: str) -> None:
            self._item = item
            self._when = when

        def __enter__(self) -> None:
            root.handlers += own, shown
            own.reset()
            shown.reset()
            stash = self._item.stash
            stash[caplog_records_key][self._when] = own.records
            stash[caplog_handler_key] = own

        def __exit__(self, *_: object) -> None:
            root.handlers = [handler for handler in root.handlers if handler is not own and handler is not shown]
            text = shown.stream.getvalue()
            if text:
                self._item.add_report_section(self._when, "log", text.strip())

    plugin._runtest_for = Caught
