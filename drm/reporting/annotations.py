"""Workflow commands that GitHub shows as annotations, at the file and line of a test.

Documented in "Workflow commands for GitHub Actions"; the escaping is that of actions/toolkit, packages/core,
``command.ts``. GitHub shows 10 errors and 10 warnings of a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drm.reporting.attention import attention
from drm.reporting.report import Report
from drm.reporting.text import one_line, plural

__all__ = ["MOST", "annotation_lines", "command"]

MOST = 10  # of each kind


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    is_error: bool
    title: str
    message: str
    task_id: str = ""


def command(kind: str, message: str, **properties: str | int) -> str:
    """Return one workflow command on one line; whatever is in ``message``, no second one comes of it."""
    given = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items() if value)
    return f"::{kind}{' ' if given else ''}{given}::{_data(one_line(message, 2000))}"


def annotation_lines(report: Report, *, lines: Mapping[str, int] | None = None, folder: str = "") -> list[str]:
    """Return at most 10 errors and 10 warnings, the last of each saying how many are not shown.

    ``lines``: where a test failed, by its id. ``folder``: of the suite within the repository.
    """
    found = list(_findings(report))
    shown: list[str] = []
    for kind, is_error in (("error", True), ("warning", False)):
        ours = [item for item in found if item.is_error is is_error]
        few = ours if len(ours) <= MOST else ours[: MOST - 1]
        shown.extend(_command(kind, item, lines or {}, folder) for item in few)
        if len(few) < len(ours):
            more = f"{len(ours) - len(few)} more {kind}s are in the job summary and in report.html"
            shown.append(command(kind, more, title="DRM: not all is shown"))
    return shown


def _findings(report: Report) -> Iterator[_Finding]:
    """Yield what needs a person, failures as one finding per cause: one broken thing often fails many tests."""
    for item in attention(report):
        if item.kind == "failed":
            continue
        is_error = item.kind in ("unreadable", "error", "refused")
        title = f"DRM: {item.kind}" + (f" in {item.stage}" if item.stage else "")
        yield _Finding(is_error=is_error, title=title, message=f"{one_line(item.what, 300)}: {item.why}")
    for stage in report.sections:
        for run in stage.runs:
            causes: dict[str, list[str]] = {}
            for test in run.summary.tests:
                if test.outcome.is_bad:
                    causes.setdefault(test.message, []).append(test.task_id)
            for message, task_ids in causes.items():
                first = task_ids[0]
                name = one_line(first.partition("::")[2] or first, 120)
                others = f" (and {plural(len(task_ids) - 1, 'other test')} for the same reason)" if task_ids[1:] else ""
                why = one_line(message, 1000) or "did not pass"
                yield _Finding(is_error=True, title=f"{run.name}: {name}", message=why + others, task_id=first)


def _command(kind: str, item: _Finding, lines: Mapping[str, int], folder: str) -> str:
    place: dict[str, str | int] = {}
    path = item.task_id.partition("::")[0]
    if path and one_line(path, 400) == path and not path.startswith("/") and ".." not in path.split("/"):
        place["file"] = f"{folder}/{path}" if folder else path
        place["line"] = lines.get(item.task_id, 0)
    return command(kind, item.message, **place, title=one_line(item.title, 200))


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
