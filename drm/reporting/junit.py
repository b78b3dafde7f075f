"""junit.xml of all stages together, for GitLab's test reports and Jenkins' ``junit`` step.

The dialect is pytest's xunit1: a test case also has the file it is in, where that is known.

What a stage's own junit.xml says is taken, with the stage's states added as tests of their own: a stage that did not
finish is no green one. Where there is none, or one that is damaged or of another run, the record stands in.
Limits: GitLab takes files under 30 MB (GitLab Docs: Unit test reports) and parses no text node of 10 MB.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement

from drm.model.errors import DrmError
from drm.model.units import format_bytes
from drm.model.work import Outcome
from drm.reporting.junit_file import Case, Suite, read_junit
from drm.reporting.report import Report, RunReport, StageReport, State
from drm.summary import RunSummary, TestRecord

__all__ = ["MOST_BYTES", "Merged", "merge_junit"]

MOST_BYTES = 25_000_000
_NAME = 1_000
_TIGHTER = ((100_000, True), (100_000, False), (2_000, False), (200, False))  # per text; with what tests printed
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2 Characters
_SLACK = timedelta(minutes=1)
_SKIPPED = (State.MISSING, State.NO_TESTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """``text``: the file. ``lines``: where tests failed, by their ids. ``notes``: what was wrong, a line each."""

    text: str
    lines: Mapping[str, int]
    notes: tuple[str, ...] = ()


def merge_junit(report: Report, root: Path) -> Merged:
    """Return all that the runs of the report left, as one junit.xml. ``root``: the folder of reports.

    Never raises for what lies there; ConfigError where defusedxml is not installed.
    """
    notes: list[str] = []
    lines: dict[str, int] = {}
    suites: list[tuple[str, Suite]] = []
    for stage in report.sections:
        verdicts: set[str] = set()
        for run in stage.runs:
            cases = _cases_of(run, root, notes)
            verdicts.update(case.verdict for case in cases)
            lines.update(_failed_lines(run.summary, cases))
            begun = run.summary.started_at
            suites.append((run.name, Suite(cases=cases, timestamp=begun, hostname=run.summary.machine)))
        own = _state_case(stage, verdicts)
        if own is not None:
            suites.append((f"{stage.name}: the stage", Suite(cases=(own,))))
    for size, with_outputs in _TIGHTER:
        data = _written(suites, size, with_outputs)
        if len(data) <= MOST_BYTES:
            break
    else:
        notes.append(f"the merged junit.xml has {format_bytes(len(data))}, more than GitLab reads; split the stages")
    return Merged(text=data.decode(), lines=lines, notes=tuple(notes))


def _cases_of(run: RunReport, root: Path, notes: list[str]) -> tuple[Case, ...]:
    """Return the tests of the run: of its junit.xml, or of its record where that cannot be used."""
    name = next((file for file in run.files if file.endswith("junit.xml")), None)
    if name is None:
        return tuple(map(_case, run.summary.tests))
    try:
        suites = read_junit(root / name, name)
    except DrmError as error:
        notes.append(f"{error}; the record of the run stands in")
        return tuple(map(_case, run.summary.tests))
    if _is_other(run.summary, suites):
        notes.append(f"{name}: is of another run than the record beside it, which stands in; run the stage again")
        return tuple(map(_case, run.summary.tests))
    return tuple(case for suite in suites for case in suite.cases)


def _is_other(summary: RunSummary, suites: tuple[Suite, ...]) -> bool:
    """Tell whether the file is of another run: it began and ended at another time, or has none of the run's tests."""
    names = {_key(case.name) for suite in suites for case in suite.cases}
    if not names or not summary.tests:
        return False
    if names.isdisjoint(_key(_address(test.task_id)[1]) for test in summary.tests):
        return True
    try:
        began = datetime.fromisoformat(summary.resumed_at or summary.started_at)  # a resumed run writes it anew
        (first, *_) = (datetime.fromisoformat(suite.timestamp) for suite in suites)
        last = first + timedelta(seconds=sum(suite.time_s for suite in suites))
        return not first - _SLACK <= began <= last + _SLACK
    except (ValueError, TypeError, OverflowError):  # no time, or one without a zone, as pytest before 8.3 writes it
        return False


def _address(task_id: str) -> tuple[str, str]:
    """Return the class name and the name that pytest's junit.xml has for a test (``mangle_test_address``)."""
    path, bracket, parameters = task_id.partition("[")
    first, *names = path.split("::")
    parts = [re.sub(r"\.py$", "", first.replace("/", ".")), *names]
    return ".".join(parts[:-1]), parts[-1] + bracket + parameters


def _key(text: str) -> str:
    """Return what is left of a name however it was escaped."""
    return re.sub(r"#x[0-9A-F]{2,4}|[\W_]", "", text)[:_NAME]


def _case(test: TestRecord) -> Case:
    classname, name = _address(test.task_id)
    verdicts = {Outcome.FAILED: "failure", Outcome.ERROR: "error"}
    passed = (Outcome.PASSED, Outcome.XPASSED)
    verdict = "" if test.outcome in passed else verdicts.get(test.outcome, "skipped")
    message = test.message or ("" if not verdict else test.outcome.value.replace("_", " "))
    shown = message if verdict else ""
    file = test.task_id.partition("::")[0]
    return Case(classname=classname, name=name, time_s=test.wall_s, verdict=verdict, message=shown, file=file)


def _state_case(stage: StageReport, verdicts: set[str]) -> Case | None:
    """Return a test that says how the stage stands, where its tests do not say it."""
    if stage.state is State.PASSING or verdicts & {"failure", "error"}:
        return None
    verdict = "skipped" if stage.state in _SKIPPED else "error"
    message = f"{stage.state.words}: {stage.why}"
    return Case(classname="drm", name=f"the {stage.name} stage", verdict=verdict, message=message)


def _failed_lines(summary: RunSummary, cases: tuple[Case, ...]) -> Iterator[tuple[str, int]]:
    """Yield the lines at which tests failed in their own file: the last that the traceback names."""
    failed = {(_key(case.classname), _key(case.name)): case for case in cases if case.text and case.verdict}
    for test in summary.tests:
        if not test.outcome.is_bad:
            continue
        classname, name = _address(test.task_id)
        case = failed.get((_key(classname), _key(name)))
        path = test.task_id.partition("::")[0]
        found = re.findall(rf"^{re.escape(path)}:(\d{{1,7}}):", case.text, re.MULTILINE) if case is not None else []
        if found:
            yield test.task_id, int(found[-1])


def _written(suites: list[tuple[str, Suite]], size: int, with_outputs: bool) -> bytes:
    root = Element("testsuites", name="DRM")
    for name, suite in suites:
        verdicts = [case.verdict for case in suite.cases]
        element = SubElement(root, "testsuite", name=_tame(name, _NAME))
        element.set("tests", str(len(verdicts)))
        for key, verdict in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            element.set(key, str(verdicts.count(verdict)))
        element.set("time", f"{sum(case.time_s for case in suite.cases):.3f}")
        for key, value in (("timestamp", suite.timestamp), ("hostname", suite.hostname)):
            if value:
                element.set(key, _tame(value, 100))
        for case in suite.cases:
            _add(element, case, size, with_outputs)
    file = io.BytesIO()
    ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    return file.getvalue() + b"\n"


def _add(suite: Element, case: Case, size: int, with_outputs: bool) -> None:
    element = SubElement(suite, "testcase", classname=_tame(case.classname, _NAME), name=_tame(case.name, _NAME))
    for key, value in (("file", case.file), ("line", case.line)):
        if value:
            element.set(key, _tame(value, _NAME))
    element.set("time", f"{case.time_s:.3f}")
    if case.verdict:
        verdict = SubElement(element, case.verdict, message=_tame(case.message, min(size, 2_000)))
        verdict.text = _tame(case.text, size) or None
    for tag, text in case.outputs if with_outputs else ():
        SubElement(element, tag).text = _tame(text, size)


def _tame(text: str, limit: int) -> str:
    """Return the text, what XML cannot hold as ``?``; of a long one the beginning, and a sum that tells it apart."""
    plain = _ILLEGAL.sub("?", text[: limit + 1])
    if len(text) <= limit:
        return plain
    told_apart = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{plain[:limit]}... ({len(text)} characters, {told_apart})"
