"""The process that collects: pytest with a plugin that writes down what it collected, and runs nothing.

``python -c "..." FILE ARGUMENTS``, started by ``collecting``. A process of its own, because collecting imports the
project: whatever that prints, changes or breaks stays here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from drm.launching import tasks_of
from drm.model.errors import DrmError
from drm.model.resources import Requirements
from drm.plugin_entry import arguments_for_plugin
from drm.settings import read_settings
from drm.worker.suite import items_of

__all__ = ["main"]

_MOST_CHARACTERS = 1000  # of an error's message


def main(path: str, arguments: Sequence[str]) -> int:
    """Collect with these arguments of pytest, write JSON to ``path``, return pytest's exit code."""
    collector = Collector()
    code = int(pytest.main([*arguments_for_plugin(), "--collect-only", "-q", *arguments], plugins=[collector]))
    with open(path, "w", encoding="ascii") as file:
        json.dump({**collector.found, "exit_code": code}, file)
    return code


class Collector:
    """A pytest plugin. ``found`` is what it has seen, as JSON can hold it."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"tests": [], "errors": [], "deselected": 0}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.found["errors"].append([report.nodeid, _last_words(str(report.longrepr))])

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.found["deselected"] += len(items)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        items = items_of(session)
        try:
            settings = read_settings(session.config.rootpath)
            tasks = tasks_of(items, settings)
        except DrmError as error:
            self.found["problem"] = str(error)
            return
        rows: dict[int, int] = {}
        needs: list[dict[str, Any]] = []
        for task, item in zip(tasks, items.values(), strict=True):
            key = id(task.requirements)
            if key not in rows:
                rows[key] = len(needs)
                needs.append(_row(task.requirements))
            self.found["tests"].append([task.task_id, *_place(item), *_names(item), rows[key]])
        self.found["needs"] = needs
        self.found["counted"] = settings.counted
        self.found["rootdir"] = str(session.config.rootpath)
        self.found["import_paths"] = [entry for entry in sys.path if isinstance(entry, str)]


def _place(item: pytest.Item) -> tuple[str, str, int | None]:
    line = item.location[1]
    return item.nodeid.partition("::")[0], str(item.path), line + 1 if isinstance(line, int) else None


def _names(item: pytest.Item) -> tuple[list[str], list[str]]:
    fixtures = [str(name) for name in getattr(item, "fixturenames", ())]
    return fixtures, sorted({str(mark.name) for mark in item.iter_markers()})


def _row(needs: Requirements) -> dict[str, Any]:
    amounts = needs.amounts
    return {
        "amounts": [amounts.cpu_cores, amounts.memory_bytes, amounts.gpus],
        "labels": sorted(needs.labels),
        "claims": needs.claims,
        "group": needs.group,
        "timeout_s": needs.timeout_s,
        "idempotent": needs.idempotent,
        "sources": needs.sources,
    }


def _last_words(text: str) -> str:
    """Return what a failed collection came to: the last line of pytest's that gives an exception, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raised = [line[2:].strip() for line in lines if line.startswith("E ")]
    return (raised or lines or ["it could not be collected"])[-1][:_MOST_CHARACTERS]
