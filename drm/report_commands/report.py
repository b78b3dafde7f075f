"""``drm report``: makes the files that people and programs read, of what the stages or single runs left."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import webbrowser
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from drm.command_line import USAGE_ERROR, Parser
from drm.model.errors import ConfigError, DrmError
from drm.model.stages import STAGES
from drm.report_commands.past import HISTORY, report_of, with_trends
from drm.reporting.assembling import OWN_RUN
from drm.reporting.files import check_folder
from drm.reporting.formats import DEFAULT, FORMATS, write_reports
from drm.reporting.inputs import read_inputs
from drm.reporting.left_out import record_left_out
from drm.reporting.report import Report
from drm.reporting.trends_file import TRENDS

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run ``drm report ARGUMENTS``; return the exit code: 0, or 4 for what cannot be read or written."""
    parser = _parser()
    options = parser.parse_args(arguments)
    was_on = gc.isenabled()
    gc.disable()  # what is read stays to the end, which is soon
    try:
        return _report(options)
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)
        return USAGE_ERROR
    finally:
        if was_on:
            gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="drm report", description="Make a report of what stages or single runs left.")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="instead of a folder: events.ndjson, results.json or report.json"
    )
    parser.add_argument(
        "--reports-dir", type=Path, default=Path("reports"), help="where the stages wrote (default: reports)"
    )
    parser.add_argument("--output-dir", type=Path, help="where to write (default: beside what is read)")
    stages = [stage.name for stage in (*STAGES, OWN_RUN)]
    parser.add_argument(
        "--stage",
        action="append",
        type=_names(stages),
        metavar="NAMES",
        help=f"report on these alone, with commas between: {', '.join(stages)}",
    )
    parser.add_argument(
        "--format",
        action="append",
        type=_names(FORMATS),
        metavar="NAMES",
        help=f"with commas between: {', '.join(FORMATS)} (default: {','.join(DEFAULT)})",
    )
    parser.add_argument("--history", type=Path, default=HISTORY, help=f"of past runs (default: {HISTORY})")
    parser.add_argument("--open", action="store_true", help="show report.html in the browser")
    return parser


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",") if name.strip()]
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not known: choose from {', '.join(known)}")
        return found

    return names


def _report(options: argparse.Namespace) -> int:
    formats = _joined(options.format) or list(DEFAULT)
    if options.open and "html" not in formats:
        formats.append("html")
    folder, report = _read(options)
    written = write_reports(folder, out_dir=options.output_dir, formats=formats, report=report)
    for name, path in written.items():
        print(f"{name}: {path}")
    if options.open and not webbrowser.open(written["html"].resolve().as_uri()):
        print(f"drm: no browser could be started; open {written['html']} yourself", file=sys.stderr)
    return 0


def _joined(lists: list[list[str]] | None) -> list[str]:
    return list(dict.fromkeys(name for names in lists or () for name in names))


def _read(options: argparse.Namespace) -> tuple[Path, Report]:
    """Return the report, and the folder that its files are relative to."""
    if not options.files:
        check_folder(options.reports_dir)
        return options.reports_dir, _read_folder(options)
    if options.stage:
        raise ConfigError("--stage does not go with files", remedy="name the files of that stage alone")
    inputs = read_inputs(options.files)
    if inputs.problems and not any(stage.runs for stage in inputs.report.sections):
        raise DrmError(inputs.problems[0])
    for problem in inputs.problems:
        print(f"drm: {problem}", file=sys.stderr)
    first = Path(options.files[0])
    folder = first.parent if first.name == "report.json" else first.resolve().parent.parent
    kept = (path for path in (Path(file).parent / TRENDS for file in options.files) if path.exists())
    return folder, with_trends(inputs.report, options.history, dict.fromkeys(kept))


def _read_folder(options: argparse.Namespace) -> Report:
    stages = _joined(options.stage)
    report = report_of(options.reports_dir, stages=stages, history=options.history)
    left_out = [] if stages else record_left_out(report, options.reports_dir, os.environ)
    for name in left_out:
        print(f"drm: {name}: left out, as it was asked for")
    return report_of(options.reports_dir, history=options.history) if left_out else report
