"""``drm ci discover``: the tests that pytest collects, by component and stage, and those that a change may reach."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drm.ci_commands.changed import Changed, changed_since
from drm.ci_commands.collecting import collect, say_errors
from drm.ci_commands.tables import Paragraphs, table, terminal_width
from drm.cicd_integration.discovery import OTHER, FoundTest, Suite, chosen
from drm.model.stages import COMPONENTS, STAGES, stage_named
from drm.reporting.text import one_line, plural

__all__ = ["add_choices", "add_to", "choose"]

JSON_VERSION = 1
_MOST_FILES = 10  # changed files that reach no test
_EPILOG = """\
Options and paths that are not listed here are pytest's, and decide what is collected: drm ci discover -k join tests.
Without any, a project with a table of stages (drm/model/stages.py) has the folders of all stages collected.

exit codes: 0: also if no test is chosen; 2 if something could not be collected; 4 for wrong options; 5 if there
are no tests.
"""


def add_to(commands: Any) -> None:
    """Add the command to those of ``drm ci``."""
    parser = commands.add_parser(
        "discover",
        help="list the tests by component and stage, and those that a change may reach",
        usage="drm ci discover [OPTIONS] [PYTEST OPTIONS] [FILES]",
        description="List the tests that pytest collects; none is run.",
        epilog=_EPILOG,
        formatter_class=Paragraphs,
        allow_abbrev=False,
    )
    add_choices(parser)
    show = parser.add_mutually_exclusive_group()
    show.add_argument("--json", action="store_true", help="for programs: every test, with why it is chosen")
    show.add_argument("--ids", action="store_true", help="one id a line, as pytest takes them in a file: drm run @FILE")
    parser.set_defaults(call=_discover, pytest=[])


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``choose`` reads."""
    add = parser.add_argument
    add("--component", action="append", default=[], metavar="NAME", help="only its tests; may be given again")
    add("--stage", action="append", default=[], metavar="NAME", help="only its tests; may be given again")
    add(
        "--changed-since",
        metavar="REV",
        help="only tests that what changed since this commit or branch may reach (docs/analyze.md says how)",
    )


def choose(options: argparse.Namespace) -> tuple[Suite, Sequence[FoundTest], Changed | None]:
    """Collect; return the suite, the tests that the options choose, and what is known of the change they name."""
    suite = collect(options.pytest or _stage_paths(options.stage))
    tests = chosen(suite.tests, components=options.component, stages=options.stage)
    if options.changed_since is None:
        return suite, tests, None
    changed = changed_since(options.changed_since, suite)
    return suite, [test for test in tests if test.task_id in changed.reasons], changed


def _stage_paths(stages: Sequence[str]) -> list[str]:
    """Return the folders of the stages for a project that keeps our table; else none, and pytest decides."""
    if not Path("drm", "model", "stages.py").is_file():
        return []
    rows = [row for name in stages if (row := stage_named(name))] or STAGES
    return [path for row in rows for path in row.paths if os.path.isdir(path)]


def _discover(options: argparse.Namespace) -> int:
    suite, tests, changed = choose(options)
    if options.json:
        print(json.dumps(_as_json(suite, tests, changed), indent=1))
    elif options.ids:
        print("".join(f"{line}\n" for line in _ids(tests)), end="")
    else:
        print("\n".join(_lines(tests, changed, terminal_width())))
    return say_errors(suite)


def _ids(tests: Sequence[FoundTest]) -> list[str]:
    """Return what chooses the tests on a command line: an id, or the file where the id would not stay on one line."""
    lines = (test.task_id if _is_plain(test.task_id) else test.file for test in tests)
    return list(dict.fromkeys(line for line in lines if _is_plain(line)))


def _is_plain(text: str) -> bool:
    return text.isprintable() and text == text.strip() and len(text) < 4096


def _lines(tests: Sequence[FoundTest], changed: Changed | None, width: int | None) -> list[str]:
    lines = [] if changed is None else [*_of_change(changed), ""]
    lines += [*_counts(tests), ""] if tests else []
    files: dict[tuple[int, str, str], Counter[str]] = {}
    order = [*(row.name for row in STAGES), OTHER]
    for test in tests:
        why = str(changed.reasons[test.task_id]) if changed is not None else ""
        files.setdefault((order.index(test.stage), test.component, test.file), Counter())[why] += 1
    rows = [
        (order[place], component, number, file, why)
        for (place, component, file), whys in sorted(files.items())
        for why, number in whys.items()
    ]
    if rows:
        lines += table(
            [("stage", "component", "tests", "file", "why" if changed else None), *rows], right=(2,), width=width
        )
    return lines or ["no tests"]


def _counts(tests: Sequence[FoundTest]) -> list[str]:
    """Return the table of how many tests each component has in each stage."""
    numbers = Counter((test.component, test.stage) for test in tests)
    stages = [name for name in [*(row.name for row in STAGES), OTHER] if any(stage == name for _, stage in numbers)]
    slugs = [row.slug for row in COMPONENTS]
    components = sorted({test.component for test in tests}, key=lambda name: (name == OTHER, name not in slugs, name))
    rows: list[list[object]] = [["tests", *stages, "all"]]
    for component in [*components, None]:
        counts = [sum(n for (c, s), n in numbers.items() if s == name and component in (None, c)) for name in stages]
        rows.append([component or "all", *(count or "-" for count in counts), sum(counts)])
    return table(rows, right=range(1, len(stages) + 2))


def _of_change(changed: Changed) -> list[str]:
    files, tests = plural(len(changed.files), "file"), plural(len(changed.tests), "test")
    lines = [f"{files} changed since {changed.base[:12]}; {tests} may be reached by that"]
    if changed.without:
        shown = ", ".join(one_line(file) for file in changed.without[:_MOST_FILES])
        more = len(changed.without) - _MOST_FILES
        lines.append(f"no test is reached by {shown}" + (f" and {more} more" if more > 0 else ""))
    if changed.outside:
        lines.append(f"{plural(changed.outside, 'test')} outside the repository left out")
    return lines


def _as_json(suite: Suite, tests: Sequence[FoundTest], changed: Changed | None) -> dict[str, Any]:
    rows = []
    for test in tests:
        row: dict[str, Any] = {"id": test.task_id, "file": test.file, "line": test.line}
        row |= {"stage": test.stage, "component": test.component}
        if changed is not None:
            reason = changed.reasons[test.task_id]
            row |= {"why": str(reason), "chain": reason.chain}
        rows.append(row)
    found: dict[str, Any] = {"schema_version": JSON_VERSION, "rootdir": suite.rootdir, "tests": rows}
    found["errors"] = [{"where": error.where, "message": error.message} for error in suite.errors]
    found["deselected"] = suite.deselected
    if changed is not None:
        found["changed"] = {"base": changed.base, "files": changed.files, "files_without_tests": changed.without}
    return found
