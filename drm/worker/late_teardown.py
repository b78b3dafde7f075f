"""What surrounds the teardown of a test in pytest's own loop, for one that comes after the test has been reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from _pytest.logging import caplog_handler_key, caplog_records_key
from _pytest.warnings import catch_warnings_for_item

__all__ = ["late_teardown"]


@contextmanager
def late_teardown(config: pytest.Config, item: pytest.Item) -> Iterator[None]:
    """Filter warnings as in the test, tell of them, and keep output and logs for its report."""
    plugins = config.pluginmanager
    with ExitStack() as around:
        if plugins.has_plugin("warnings"):
            around.enter_context(catch_warnings_for_item(config, item.ihook, "runtest", item))
        logging: Any = plugins.get_plugin("logging-plugin")
        if logging is not None:
            around.enter_context(_logs(logging, item))
        capture = plugins.get_plugin("capturemanager")
        if capture is not None:
            around.enter_context(capture.item_capture("teardown", item))
        yield


@contextmanager
def _logs(logging: Any, item: pytest.Item) -> Iterator[None]:
    item.stash[caplog_records_key] = {}
    kept = logging._runtest_for(item, "teardown")
    try:
        if hasattr(kept, "__enter__"):
            with kept:
                yield
        else:  # before pytest 9 it is a generator, and no context manager
            yield from kept
    finally:
        del item.stash[caplog_records_key]
        del item.stash[caplog_handler_key]
