"""``drm ci status``: tells the CI provider how the run came out. A pipeline's last job runs it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from drm.ci_commands.context import current_context
from drm.ci_commands.lines import say
from drm.ci_commands.links import links_of
from drm.ci_commands.publishing import publish_report
from drm.cicd_integration.context import Context
from drm.model.errors import DrmError
from drm.reporting.annotations import annotation_lines
from drm.reporting.collect import build_report
from drm.reporting.comment import render_comment
from drm.reporting.files import cannot_write, check_folder, write_atomic
from drm.reporting.junit import merge_junit
from drm.reporting.junit_file import read_xml
from drm.reporting.markdown import render_markdown
from drm.reporting.openmetrics import render_openmetrics
from drm.reporting.report import Report, State

__all__ = ["add_to"]

_NOT_PASSING = 1
_NOT_PUBLISHED = 6
_EPILOG = """\
exit codes: 0: said and written; 1: with --check, the state is not "passing"; 4: the folder cannot be read or written;
6: with --strict, something that was asked for could not be published
"""


def add_to(commands: Any) -> None:
    """Add the command to those of ``drm ci``."""
    parser = commands.add_parser(
        "status",
        help="write summary, annotations, test reports for the CI provider; with --publish, commit status and comment",
        epilog=_EPILOG,
    )
    folder = parser.add_argument_group("files")
    folder.add_argument(
        "--reports-dir", type=Path, default=Path("reports"), metavar="DIR", help="of the stages (default: reports)"
    )
    folder.add_argument(
        "--output-dir", type=Path, metavar="DIR", help="where to write (default: ci/ in the folder of reports)"
    )
    parser.add_argument("--name", default="DRM tests", help="of commit status and comment (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="end with 1 unless the state is passing")
    web = parser.add_argument_group("publishing", "with GITHUB_TOKEN; of GitLab, DRM_GITLAB_TOKEN or GITLAB_TOKEN")
    web.add_argument("--publish", action="store_true", help="set the commit status, comment on the request")
    web.add_argument("--publish-only", action="store_true", help="publish, and write no file, summary or annotation")
    web.add_argument("--strict", action="store_true", help="end with 6 where something could not be published")
    parser.set_defaults(call=_status)


def _status(options: argparse.Namespace) -> int:
    check_folder(options.reports_dir)
    context = current_context()
    report = build_report(options.reports_dir, links=links_of(context))
    report = of_this_commit(report, _commits(context, os.environ))
    say(report.headline)
    if not options.publish_only:
        lines = _write_files(options, report, context)
        if context.provider == "github":
            for line in annotation_lines(report, lines=lines, folder=_within_repository(os.environ)):
                print(line, flush=True)
            _append_summary(report, os.environ)
    is_asked = options.publish or options.publish_only
    is_published = not is_asked or publish_report(report, context, os.environ, name=options.name)
    if options.check and report.state is not State.PASSING:
        return _NOT_PASSING
    return _NOT_PUBLISHED if options.strict and not is_published else 0


def of_this_commit(report: Report, commits: tuple[str, ...]) -> Report:
    """Return the report, stale where it is of none of the commits that this job may be said to be of."""
    ours = report.commit
    known = [commit for commit in commits if commit]
    if not ours or not known or any(commit.startswith(ours) or ours.startswith(commit) for commit in known):
        return report
    if report.state not in (State.PASSING, State.PARTIAL):
        return report
    headline = f"Stale: the results are of commit {ours[:12]}, this job is of {known[0][:12]}. {report.headline}"
    return replace(report, state=State.STALE, headline=headline)


def _commits(context: Context, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the commit to report on, and what the provider checks out of a request: a merge of it."""
    return (context.sha or "", *(environ.get(name, "") for name in ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")))


def _write_files(options: argparse.Namespace, report: Report, context: Context) -> Mapping[str, int]:
    """Write the files that providers read; return where tests failed, by their ids."""
    root = options.reports_dir
    target = options.output_dir or root / "ci"
    merged = merge_junit(report, root)
    for note in merged.notes:
        say(note)
    texts = {
        "junit.xml": merged.text,
        "metrics.txt": render_openmetrics(report),
        "summary.md": render_markdown(report),
        "comment.md": render_comment(report, name=options.name, commit=context.sha or ""),
    }
    for name, text in texts.items():
        write_atomic(target / name, text)
    names = [*texts, *(["coverage.xml"] if _copy_coverage(root / "coverage.xml", target / "coverage.xml") else [])]
    say(f"written to {target}: {', '.join(names)}")
    return merged.lines


def _copy_coverage(source: Path, target: Path) -> bool:
    """Copy the Cobertura file that ``nox -s report`` wrote, if it is one; tell whether."""
    try:
        target.unlink(missing_ok=True)
        if not source.exists():
            return False
        root = read_xml(source, source.name, with_dtd=True)
        if root.tag != "coverage":
            say(f"{source.name}: is no Cobertura file and was left out; run `nox -s report` again")
            return False
        write_atomic(target, source.read_text(encoding="utf-8"))
    except DrmError as error:
        say(f"{error.message}; run `nox -s report` again")
        return False
    except (OSError, ValueError) as error:
        say(f"{source.name}: cannot be copied ({error}); run `nox -s report` again")
        return False
    return True


def _append_summary(report: Report, environ: Mapping[str, str]) -> None:
    """Append to the job's summary. GitHub takes 1 MiB of a step; ours is under 60 KB."""
    path = environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(f"\n{render_markdown(report)}\n")
    except OSError as error:
        raise cannot_write(Path(path), error) from error


def _within_repository(environ: Mapping[str, str]) -> str:
    """Return the way from the repository to this folder: annotations name files from the repository on."""
    workspace = environ.get("GITHUB_WORKSPACE")
    here = Path.cwd()
    if not workspace or not here.is_relative_to(Path(workspace)):
        return ""
    way = here.relative_to(Path(workspace)).as_posix()
    return "" if way == "." else way
