"""Badges of a report: SVG through pybadges, and the JSON that shields' endpoint badge reads.

``drm_status`` is the whole; where stages have run there is one per component
(``drm_<slug>_status``), per stage (``drm_<stage>_test_status``), one for
coverage and one for the speed of what is measured. The JSON has only the keys that shields knows
(https://shields.io/badges/endpoint-badge); numbers, commit and time go to
``<name>.meta.json`` beside it. Nothing is shown as passing that had no test,
could not be read, or belongs to another commit.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from drm._badges import readme
from drm._badges.readme import markdown_lines
from drm._badges.rendering import COLORS, Badge, load_pybadges, write_badge
from drm._badges.states import absent_badges, badges_of, old_stages
from drm.cicd_integration.context import Context, detect
from drm.command_line import USAGE_ERROR, Parser
from drm.model.errors import ConfigError, DrmError
from drm.model.units import parse_duration
from drm.reporting.inputs import Inputs, read_folder, read_inputs
from drm.reporting.report import Report, State
from drm.reporting.text import one_line

__all__ = ["COLORS", "Badge", "badges_of", "generate_badges", "main", "markdown_lines"]

_REPORTS, _BADGES = Path("reports"), Path(".github/badges")
_UNUSABLE = 1
_EPILOG = """\
exit codes: 0: the badges are written, whatever they say; 1: they are, but a record or file could not be read (they
say "error") or no file matched a pattern (at best "partial"); 4: wrong usage, or nothing could be written
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """A badge, and the folder that its files go to."""

    badge: Badge
    folder: Path


def generate_badges(
    source: Report | Path | str,
    output_dir: Path | str,
    *,
    label: str = "DRM",
    commit: str = "",
    max_age_s: float | None = None,
    component_badges: bool = True,
    now: datetime | None = None,
) -> list[Path]:
    """Write the badges of a report, a folder of reports or a report.json; return the files, SVG and JSON.

    What passes in stages of another ``commit``, or older than ``max_age_s``, is stale; a report.json that
    cannot be read is an error. Raises ConfigError without pybadges and for a folder that is not there,
    DrmError when a file cannot be written.
    """
    load_pybadges()  # before anything is read: without it there is nothing to do
    now = now if now is not None else datetime.now(UTC)
    report = source if isinstance(source, Report) else _load(Path(source), now).report
    old = old_stages(report, commit, max_age_s, now)
    placed = _chosen(report, Path(output_dir), None, label=label, old=old, component_badges=component_badges)
    return _write(placed, report)


def _load(source: Path, now: datetime) -> Inputs:
    if source.is_file():
        return read_inputs([str(source)], now=now)
    return read_folder(source, now=now)


def _chosen(
    report: Report, folder: Path, output: Path | None, *, label: str, old: frozenset[str], component_badges: bool
) -> list[_Placed]:
    """Return the badges to write: the whole, in ``output`` if that is given, and the others in ``folder``."""
    whole, *others = badges_of(report, label=label, old=old)
    if not others:
        others = [badge for badge in absent_badges(report) if (folder / f"{badge.name}.json").exists()]
    first = _Placed(badge=whole, folder=folder)
    if output is not None:
        name = output.name.removesuffix(".svg").removesuffix(".json")
        first = _Placed(badge=replace(whole, name=name), folder=output.parent)
    return [first, *(_Placed(badge=badge, folder=folder) for badge in others if component_badges)]


def _write(placed: Iterable[_Placed], report: Report) -> list[Path]:
    draw = load_pybadges()
    return [path for item in placed for path in write_badge(item.badge, report, item.folder, draw)]


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = Parser(prog=prog, description="Write status badges of test results: SVG, and JSON for shields.io.")
    parser.epilog = _EPILOG
    reading = parser.add_argument_group("what they tell of").add_mutually_exclusive_group()
    reading.add_argument(
        "--input",
        nargs="+",
        action="extend",
        metavar="FILE",
        help='report.json, or results.json and other records of runs; also patterns such as "reports/*/results.json"',
    )
    reading.add_argument(
        *("--input-dir", "--reports-dir"), type=Path, metavar="DIR", help=f"of the stages (default: {_REPORTS})"
    )
    writing = parser.add_argument_group("what is written")
    writing.add_argument("--output", type=Path, metavar="FILE", help="the overall badge: FILE.svg and FILE.json")
    writing.add_argument("--output-dir", type=Path, metavar="DIR", help=f"all others (default: {_BADGES})")
    writing.add_argument("--label", default="DRM", help="text on the left of the overall badge (default: %(default)s)")
    writing.add_argument(
        "--component-badges",
        action=argparse.BooleanOptionalAction,
        help="badges of components, stages, coverage and performance too (default: yes, but no with only --output)",
    )
    age = parser.add_argument_group("what is stale")
    age.add_argument("--commit", default="", help="results of another commit are stale")
    age.add_argument("--max-age", default="", metavar="TIME", help='older results are stale, such as "24h"')
    shown = parser.add_argument_group("for a README")
    shown.add_argument("--markdown", action="store_true", help="also print the lines that show the badges")
    shown.add_argument("--repository", help="owner/name (default: what the CI system says)")
    shown.add_argument(
        "--branch", help="where the badges are (default: the default branch by the CI system, else main)"
    )
    shown.add_argument("--path", help="folder of the badges on that branch (default: the one they are written to)")
    return parser


def main(
    arguments: Sequence[str] | None = None,
    *,
    prog: str = "python -m drm.github_badge_generator",
    context: Context | None = None,
) -> int:
    """Write badges as the command line says; return the exit code, as its help lists them.

    ``context``: of the CI job; by default what the environment says.
    """
    given = _parser(prog).parse_args(arguments)
    try:
        return _run(given, context if context is not None else detect(os.environ))
    except DrmError as error:
        _complain(str(error))
        return USAGE_ERROR


def _run(given: argparse.Namespace, context: Context) -> int:
    now = datetime.now(UTC)
    max_age_s = parse_duration(given.max_age, what="--max-age") if given.max_age else None
    if given.output is not None and (not given.output.name or given.output.is_dir()):
        raise ConfigError(
            f"--output {str(given.output)!r} names no file", remedy="name the overall badge's, or use --output-dir"
        )
    if not one_line(given.label).strip():
        raise ConfigError("--label is empty", remedy="give the badge a name")
    load_pybadges()
    inputs = read_inputs(given.input, now=now) if given.input else _load(given.input_dir or _REPORTS, now)
    report = inputs.report
    old = old_stages(report, given.commit, max_age_s, now)
    beside = given.output.parent if given.output is not None else _BADGES
    others = given.component_badges
    if others is None:
        others = given.output is None or given.output_dir is not None
    folder = given.output_dir if given.output_dir is not None else beside
    placed = _chosen(report, folder, given.output, label=given.label, old=old, component_badges=others)
    for path in _write(placed, report):
        _print(str(path))
    for problem in inputs.problems:
        _complain(problem)
    if placed[0].badge.state is not State.PASSING and not inputs.problems:
        _complain(placed[0].badge.why)
    if given.markdown:
        _print_markdown(given, placed, context)
    return _UNUSABLE if inputs.problems else 0


def _print_markdown(given: argparse.Namespace, placed: Sequence[_Placed], context: Context) -> None:
    repository = given.repository or context.repository
    if not repository:
        _complain(f"the repository is not known, so the lines say {readme.PLACEHOLDER}; use --repository owner/name")
    silent = [item for item in placed[1:] if item.badge.state in (State.MISSING, State.NO_TESTS)]
    if silent:
        _complain(f"no lines for those that say nothing yet: {', '.join(item.badge.label for item in silent)}")
    for item in (item for item in placed if item not in silent):
        folder = given.path if given.path is not None else readme.folder_in_repository(item.folder, Path.cwd())
        lines = markdown_lines(
            [item.badge],
            repository=repository or readme.PLACEHOLDER,
            branch=given.branch or readme.default_branch(context),
            folder=folder,
            raw=readme.raw_files(context),
        )
        _print(*lines)


def _print(*lines: str) -> None:
    for line in lines:
        print(line.encode("utf-8", "replace").decode())  # a path may hold what no stream can show


def _complain(text: str) -> None:
    print(f"drm: {one_line(text, 1000)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
