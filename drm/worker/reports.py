"""pytest's phase reports on the wire: a plain passed phase is four numbers, anything else pytest's own form."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest
from _pytest.nodes import Node

from drm.model.work import Outcome
from drm.worker.report_bounds import shorten

_PLAIN_FIELDS = frozenset(
    pytest.TestReport("", ("", None, ""), {}, "passed", None, "call", duration=0.0, start=0.0, stop=0.0).__dict__
)
_PHASES = ("setup", "call", "teardown")
# From pytest 9.2 on nodes keep their id parsed, and a report that is given it need not parse it again.
_NODEID = "_id" if "_id" in getattr(Node, "__slots__", ()) else "nodeid"


class ReportEncoder:
    """Turns reports into JSON values.

    A phase that passed and carries nothing but times is ``[phase, duration, start]``, the
    setup with the test's location after that (finding it costs; so it is found here, once): the
    controller knows the rest from its own item. It is used only while no plugin has its own
    ``pytest_report_to_serializable``.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        implementations = config.hook.pytest_report_to_serializable.get_hookimpls()
        self._may_shorten = all(entry.function.__module__.startswith("_pytest.") for entry in implementations)

    def encode(self, report: pytest.TestReport) -> Any:
        if (
            self._may_shorten
            and report.outcome == "passed"
            and report.longrepr is None
            and not report.sections
            and not report.user_properties
            and report.__dict__.keys() == _PLAIN_FIELDS
        ):
            if report.when == "setup":
                return [0, round(report.duration, 7), round(report.start, 6), report.location]
            return [1 if report.when == "call" else 2, round(report.duration, 7), round(report.start, 6)]
        return shorten(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))


def is_plain_fixture_phase(encoded: Any) -> bool:
    """Tell whether an encoded report is that of a setup or teardown that passed and said nothing."""
    return isinstance(encoded, list) and encoded[0] != 1


def is_plain_pass(encoded: list[Any]) -> bool:
    """Tell whether the encoded reports of a test are those of three phases that passed and said nothing."""
    return len(encoded) == len(_PHASES) and all(type(data) is list for data in encoded)


class ReportDecoder:
    """Rebuilds reports on the controller, with what it knows of the collected item."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._above: dict[Any, dict[str, Any]] = {}  # by collector: the keywords that its tests have of it

    def _keywords(self, item: pytest.Item) -> dict[str, Any]:
        """Return ``dict.fromkeys(item.keywords, 1)``, asking the collectors above once and not for each test."""
        own = getattr(item.keywords, "_markers", None)
        if type(own) is not dict or item.parent is None:
            return dict.fromkeys(item.keywords, 1)
        above = self._above.get(item.parent)
        if above is None:
            above = self._above[item.parent] = dict.fromkeys(item.parent.keywords, 1)
        return {**dict.fromkeys(own, 1), **above}

    def decode(self, item: pytest.Item, encoded: list[Any], worker_id: str) -> list[pytest.TestReport]:
        """Return the reports of one test in order, each with ``worker_id`` set as under pytest-xdist."""
        keywords: Any = None
        location: Any = None
        reports = []
        for data in encoded:
            if isinstance(data, list):
                if keywords is None:
                    keywords = self._keywords(item)
                location = tuple(data[3]) if len(data) > 3 else location or item.location
                report = _plain_report(item, data, keywords, location)
            else:
                report = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
                if isinstance(report.longrepr, list):  # the (path, line, reason) of a skip: JSON has no tuples
                    report.longrepr = tuple(report.longrepr)
                report.location = tuple(report.location)
            report.worker_id = worker_id  # type: ignore[attr-defined]
            reports.append(report)
        return reports

    def decode_call(self, item: pytest.Item, encoded: list[Any], worker_id: str) -> pytest.TestReport:
        """Return the report of the call alone; for a plain pass, whose other phases nobody wants."""
        setup, call, _ = encoded
        report = _plain_report(item, call, self._keywords(item), tuple(setup[3]))
        report.worker_id = worker_id  # type: ignore[attr-defined]
        return report


def _plain_report(item: pytest.Item, encoded: list[Any], keywords: Any, location: Any) -> pytest.TestReport:
    phase, duration, start = encoded[:3]
    nodeid: Any = getattr(item, _NODEID)
    when: Any = _PHASES[phase]
    return pytest.TestReport(
        nodeid, location, keywords, "passed", None, when, duration=duration, start=start, stop=start + duration
    )


def encode_warning(message: warnings.WarningMessage, when: str, nodeid: str, location: Any) -> dict[str, Any]:
    """Return a recorded warning as JSON values."""
    category = message.category
    return {
        "text": str(message.message),
        "module": category.__module__,
        "category": category.__name__,
        "filename": message.filename,
        "lineno": message.lineno,
        "when": when,
        "nodeid": nodeid,
        "location": location,
    }


def decode_warning(data: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``pytest_warning_recorded`` again.

    The category is looked up only in modules that are imported already: a worker cannot make us import.
    """
    category = getattr(sys.modules.get(data["module"]), data["category"], Warning)
    if not (isinstance(category, type) and issubclass(category, Warning)):
        category = Warning
    try:
        warning = category(data["text"])
    except Exception:  # a category with a signature of its own
        category, warning = Warning, Warning(data["text"])
    location = data["location"]
    return {
        "warning_message": warnings.WarningMessage(warning, category, data["filename"], data["lineno"]),
        "when": data["when"],
        "nodeid": data["nodeid"],
        "location": tuple(location) if location else None,
    }


def outcome_of(reports: list[pytest.TestReport]) -> tuple[Outcome, str]:
    """Return the outcome that a test's phase reports amount to, and one line on a bad one.

    pytest's own rules: a failed setup or teardown is an error, a failed call a failure.
    """
    outcome, message = Outcome.NOT_RUN, ""
    for report in reports:
        if report.outcome == "failed":
            bad = Outcome.FAILED if report.when == "call" else Outcome.ERROR
            if outcome is not Outcome.FAILED:
                outcome, message = bad, first_line(report)
        elif report.outcome == "skipped":
            outcome = Outcome.XFAILED if hasattr(report, "wasxfail") else Outcome.SKIPPED
        elif report.outcome == "passed" and report.when == "call" and outcome is Outcome.NOT_RUN:
            outcome = Outcome.XPASSED if hasattr(report, "wasxfail") else Outcome.PASSED
    if outcome is Outcome.NOT_RUN and reports and all(report.passed for report in reports):
        outcome = Outcome.PASSED  # --setup-only: there is no call
    return outcome, message


def first_line(report: pytest.TestReport) -> str:
    """Return what a failed report says in one line of at most 300 characters."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr or "")
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0].strip()[:300] if lines else ""
