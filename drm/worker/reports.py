"""pytest's phase reports on the wire: a plain passed phase is four numbers, anything else pytest's own form."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Container
from functools import lru_cache
from typing import Any

import pytest
from _pytest.nodes import Node

from drm.model.errors import LostError
from drm.model.work import Outcome
from drm.worker.report_bounds import shorten

_PLAIN_FIELDS = frozenset(
    pytest.TestReport("", ("", None, ""), {}, "passed", None, "call", duration=0.0, start=0.0, stop=0.0).__dict__
)
_PHASES = ("setup", "call", "teardown")
# From pytest 9.2 on nodes keep their id parsed, and a report that is given it need not parse it again.
_NODEID = "_id" if "_id" in getattr(Node, "__slots__", ()) else "nodeid"


class _Keywords:
    """``dict.fromkeys(item.keywords, 1)``, where the collectors above are asked once and not for each test."""

    def __init__(self) -> None:
        self._above: dict[Any, dict[str, Any]] = {}  # by collector: the keywords that its tests have of it

    def of(self, item: pytest.Item) -> dict[str, Any]:
        own = getattr(item.keywords, "_markers", None)
        if type(own) is not dict or item.parent is None:
            return dict.fromkeys(item.keywords, 1)
        above = self._above.get(item.parent)
        if above is None:
            above = self._above[item.parent] = dict.fromkeys(item.parent.keywords, 1)
        return {**dict.fromkeys(own, 1), **above}


class ReportEncoder:
    """Turns reports into JSON values.

    A phase that passed and carries nothing but times is ``[phase, duration, start]``, the
    setup with the test's location after that (finding it costs; so it is found here, once): the
    controller knows the rest from its own item. It is used only while no plugin has its own
    ``pytest_report_to_serializable``.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._keywords = _Keywords()
        self._known: tuple[Any, dict[str, Any]] = (None, {})
        implementations = config.hook.pytest_report_to_serializable.get_hookimpls()
        self._may_shorten = all(entry.function.__module__.startswith("_pytest.") for entry in implementations)

    def begin(self, item: pytest.Item) -> None:
        """Note what the controller knows of the test, before that, or a hook, says more or something else."""
        self._known = (getattr(item, _NODEID), self._keywords.of(item))

    def encode(self, report: pytest.TestReport) -> Any:
        if (
            self._may_shorten
            and report.outcome == "passed"
            and report.longrepr is None
            and not report.sections
            and not report.user_properties
            and report.__dict__.keys() == _PLAIN_FIELDS
            and (getattr(report, _NODEID), report.keywords) == self._known
        ):
            if report.when == "setup":
                return [0, round(report.duration, 7), round(report.start, 6), report.location]
            return [1 if report.when == "call" else 2, round(report.duration, 7), round(report.start, 6)]
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        if isinstance(data, dict) and report.user_properties:
            data["user_properties"] = [(*pair[:1], *map(_as_shown, pair[1:])) for pair in report.user_properties]
        return shorten(data)


def _as_shown(value: Any) -> Any:
    """Return a property's value, or the text that junit.xml shows of it where JSON would make it another one."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    try:
        held = json.loads(json.dumps(value))
        return value if isinstance(value, list | tuple | dict) or str(held) == str(value) else str(value)
    except (TypeError, ValueError, RecursionError):
        try:
            return str(value)
        except Exception:  # of the test's own
            return value


def is_plain_fixture_phase(encoded: Any) -> bool:
    """Tell whether an encoded report is that of a setup or teardown that passed and said nothing."""
    return isinstance(encoded, list) and encoded[0] != 1


def is_plain_pass(encoded: list[Any]) -> bool:
    """Tell whether the encoded reports of a test are those of three phases that passed and said nothing."""
    return len(encoded) == len(_PHASES) and all(type(data) is list for data in encoded)


class ReportDecoder:
    """Rebuilds reports on the controller, with what it knows of the collected item.

    ``nodeids``: of all collected tests. LostError for what is no report, or says that it is one of another test.
    """

    def __init__(self, config: pytest.Config, nodeids: Container[str] = ()) -> None:
        self._config = config
        self._nodeids = nodeids
        self._keywords = _Keywords()

    def decode(self, item: pytest.Item, encoded: list[Any], worker_id: str) -> list[pytest.TestReport]:
        """Return the reports of one test in order, each with ``worker_id`` set as under pytest-xdist."""
        try:
            return self._decoded(item, encoded, worker_id)
        except Exception as error:  # of pytest, of plugins that have reports of their own, or of ours
            why = f"{type(error).__name__}: {error}"[:200]
            raise LostError(f"what {worker_id} reported of this test is not understood ({why})") from error

    def _decoded(self, item: pytest.Item, encoded: list[Any], worker_id: str) -> list[pytest.TestReport]:
        keywords: Any = None
        location: Any = None
        reports = []
        for data in encoded:
            if isinstance(data, list):
                if keywords is None:
                    keywords = self._keywords.of(item)
                location = _location(data) if len(data) > 3 else location or item.location
                report = _plain_report(item, data, keywords, location)
            else:
                report = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
                self._check(item, report)
                if isinstance(report.longrepr, list):  # the (path, line, reason) of a skip: JSON has no tuples
                    report.longrepr = tuple(report.longrepr)
                report.location = tuple(report.location)
                report.sections = [tuple(section) for section in report.sections]
                report.user_properties = [tuple(pair) for pair in report.user_properties]
            report.worker_id = worker_id  # type: ignore[attr-defined]
            reports.append(report)
        return reports

    def _check(self, item: pytest.Item, report: Any) -> None:
        """See that pytest's own reporting can do with the report, and that it is none of another test."""
        sections, location = report.sections, report.location
        is_sound = (
            all(isinstance(word, str) for word in (report.nodeid, report.outcome, report.when))
            and isinstance(report.keywords, dict)
            and all(type(time_) in (int, float) for time_ in (report.duration, getattr(report, "start", 0)))
            and len(location) == 3
            and all(isinstance(word, kind) for word, kind in zip(location, (str, int | None, str), strict=True))
            and all(isinstance(text, str) for name, content in sections for text in (name, content))
            and all(len(pair) == 2 for pair in report.user_properties)
            and not (isinstance(report.longrepr, list) and len(report.longrepr) != 3)
        )
        if not is_sound:
            raise TypeError("parts of other types")
        if report.nodeid != item.nodeid and report.nodeid in self._nodeids:
            raise ValueError(f"it is one of {report.nodeid}")

    def decode_call(self, item: pytest.Item, encoded: list[Any], worker_id: str) -> pytest.TestReport:
        """Return the report of the call alone; for a plain pass, whose other phases nobody wants."""
        try:
            setup, call, _ = encoded
            report = _plain_report(item, call, self._keywords.of(item), _location(setup))
        except (TypeError, ValueError, IndexError) as error:
            raise LostError(f"what {worker_id} reported of this test is not understood") from error
        report.worker_id = worker_id  # type: ignore[attr-defined]
        return report


def _location(encoded: list[Any]) -> tuple[str, int | None, str]:
    path, line, domain = encoded[3]
    return str(path), None if line is None else int(line), str(domain)


def _plain_report(item: pytest.Item, encoded: list[Any], keywords: Any, location: Any) -> pytest.TestReport:
    phase, duration, start = encoded[0], float(encoded[1]), float(encoded[2])
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

    The category is looked up only in modules that are imported already: a worker cannot make us import. Where it is
    not found, one of its name stands in. Whatever else is there, it is of the type that pytest expects.
    """
    text, module, name, filename, nodeid = (
        str(data.get(key, "")) for key in ("text", "module", "category", "filename", "nodeid")
    )
    line, when, location = data.get("lineno"), data.get("when"), data.get("location")
    category = vars(sys.modules[module]).get(name) if module in sys.modules else None
    if not (isinstance(category, type) and issubclass(category, Warning)):
        category = _stand_in(module, name)
    warning = _warning(category, text)
    has_place = isinstance(location, list | tuple) and [type(word) for word in location] == [str, int, str]
    return {
        "warning_message": warnings.WarningMessage(warning, category, filename, line if type(line) is int else 0),
        "when": when if when in ("config", "collect", "runtest") else "runtest",
        "nodeid": nodeid,
        "location": tuple(location or ()) if has_place else None,
    }


@lru_cache
def _stand_in(module: str, name: str) -> type[Warning]:
    return type(name, (Warning,), {"__module__": module}) if name.isidentifier() else Warning


def _warning(category: type[Warning], text: str) -> Warning:
    """Return a warning of that text, and of the category unless that makes another text of it or wants more."""
    try:
        warning = category(text)
        return warning if str(warning) == text else Warning(text)
    except Exception:
        return Warning(text)


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
        elif report.outcome == "skipped" and outcome not in (Outcome.FAILED, Outcome.ERROR):
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
