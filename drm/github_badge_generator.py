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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from drm._badge_rendering import COLORS, NO_TESTS, Badge, load_pybadges, markdown_lines, write_badge
from drm.model.errors import ConfigError, DrmError
from drm.model.stages import COMPONENTS, STAGES
from drm.model.units import parse_duration
from drm.reporting.collect import build_report
from drm.reporting.files import check_folder
from drm.reporting.json_report import read_report
from drm.reporting.report import Cell, Report, State
from drm.reporting.text import one_line

__all__ = ["COLORS", "Badge", "badges_of", "generate_badges", "main", "markdown_lines", "readme_lines"]

OVERALL = "drm_status"
COVERAGE = "drm_coverage_status"
PERFORMANCE = "drm_performance_status"


def _badge(name: str, label: str, state: State, tests: Cell, why: str = "") -> Badge:
    if state is State.PASSING and not tests.ran:
        state = State.NO_TESTS
    message = state.words
    if state in (State.FAILING, State.PARTIAL, State.PASSING):
        message = f"{message} ({tests.passed}/{tests.ran})"
    elif state in (State.NO_TESTS, State.MISSING):
        message = "no status"
    return Badge(name=name, label=label, message=message, state=state, tests=tests, why=why)


def badges_of(report: Report, *, label: str = "DRM") -> list[Badge]:
    """Return the badges of a report, the whole first; the rest only where a stage has run or is known of."""
    badges = [_badge(OVERALL, one_line(label, 60), report.state, report.tests, report.headline)]
    if any(stage.runs for stage in report.stages):
        badges += [_badge(_name(item.slug), item.title, item.state, item.tests) for item in report.components]
        badges += [
            _badge(f"drm_{stage.name}_test_status", _stage_label(stage.name), stage.state, stage.tests, stage.why)
            for stage in report.stages
        ]
        badges += [_coverage(report), _performance(report)]
    return badges


def _name(slug: str) -> str:
    return f"drm_{slug.removeprefix('drm_')}_status"


def _stage_label(name: str) -> str:
    return "E2E tests" if name == "e2e" else f"{name.capitalize()} tests"


def _coverage(report: Report) -> Badge:
    name = COVERAGE
    if report.coverage is None:
        problem = next((problem for problem in report.problems if problem.startswith("coverage.json")), "")
        state = State.ERROR if problem else State.MISSING
        return _badge(name, "Coverage", state, NO_TESTS, problem or "no coverage was measured")
    percent = int(report.coverage.percent)  # rounded down: 99.9% is not 100%
    state = State.PASSING if percent >= 80 else State.PARTIAL if percent >= 60 else State.FAILING
    return Badge(name=name, label="Coverage", message=f"{percent}%", state=state)


def _performance(report: Report) -> Badge:
    """Return how the benchmarks compare with the stored baselines; those that have none say nothing."""
    problem = next((problem for problem in report.problems if "benchmark.json" in problem.partition(":")[0]), "")
    compared = [benchmark for benchmark in report.benchmarks if benchmark.baseline_s is not None]
    slower = [benchmark.name for benchmark in compared if benchmark.verdict == "regressed"]
    stage = next((stage for stage in report.stages if stage.name == "performance"), None)
    if problem:
        state, message, why = State.ERROR, "error", problem
    elif slower:
        state, message, why = State.FAILING, f"{len(slower)} of {len(compared)} slower", ", ".join(slower)
    elif not compared:
        state, message, why = State.MISSING, "no status", "nothing was compared with a stored baseline"
    elif stage is not None and stage.state is not State.PASSING:  # what is left of it does not stand for all
        state, message, why = stage.state, stage.state.words, stage.why
    else:
        state, message, why = State.PASSING, f"steady ({len(compared)})", ""
    return Badge(name=PERFORMANCE, label="Performance", message=message, state=state, why=why)


def _absent(report: Report) -> Iterator[Badge]:
    """Yield badges for a report that says nothing of stages: those left from before would claim what nobody knows."""
    state = State.ERROR if report.state is State.ERROR and not report.sections else State.MISSING
    for component in COMPONENTS:
        yield _badge(_name(component.slug), component.title, state, NO_TESTS)
    for stage in STAGES:
        yield _badge(f"drm_{stage.name}_test_status", _stage_label(stage.name), state, NO_TESTS)
    yield _badge(COVERAGE, "Coverage", state, NO_TESTS)
    yield _badge(PERFORMANCE, "Performance", state, NO_TESTS)


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

    A passing report of another ``commit``, or older than ``max_age_s``, is stale; a report.json that
    cannot be read is an error. Raises ConfigError without pybadges and for a folder that is not there,
    DrmError when a file cannot be written.
    """
    draw = load_pybadges()
    report = source if isinstance(source, Report) else _load(Path(source))
    report = _aged(report, commit, max_age_s, now if now is not None else datetime.now(UTC))
    folder = Path(output_dir)
    badges = badges_of(report, label=label)
    if len(badges) == 1:
        badges += [badge for badge in _absent(report) if (folder / f"{badge.name}.json").exists()]
    if not component_badges:
        badges = badges[:1]
    return [path for badge in badges for path in write_badge(badge, report, folder, draw)]


def readme_lines(
    source: Report | Path | str,
    written: Sequence[Path],
    *,
    label: str = "DRM",
    repository: str = "",
    branch: str = "main",
) -> list[str]:
    """Return the line that shows each of the ``written`` badges in a README.

    ``repository``: "owner/name"; by default the one that the CI provider names, else a placeholder.
    """
    report = source if isinstance(source, Report) else _load(Path(source))
    names = {path.stem for path in written}
    folder = written[0].parent.as_posix() if written else ""
    badges = [badge for badge in badges_of(report, label=label) if badge.name in names]
    place = repository or os.environ.get("GITHUB_REPOSITORY", "username/repo")
    return markdown_lines(badges, repository=place, branch=branch, folder=folder)


def _load(source: Path) -> Report:
    """Return the report of a folder, or the one in a file; a file that cannot be read is a report of an error."""
    if not source.is_file():
        check_folder(source)
        return build_report(source)
    try:
        return read_report(source)
    except DrmError as error:
        return Report(state=State.ERROR, headline=str(error), created_at="", drm_version="", tests=NO_TESTS)


def _aged(report: Report, commit: str, max_age_s: float | None, now: datetime) -> Report:
    """Return the report, what is passing in it made stale if it is of another commit or too old."""
    same = commit.startswith(report.commit) or report.commit.startswith(commit)  # either may be shortened
    other = bool(commit) and (not report.commit or not same)
    started = [run.summary.started_at for stage in report.sections for run in stage.runs if run.summary.started_at]
    old = max_age_s is not None and (not started or _age_s(max(started), now) > max_age_s)
    if not other and not old:
        return report

    def stale(state: State) -> State:
        return State.STALE if state is State.PASSING else state

    return replace(
        report,
        state=stale(report.state),
        stages=tuple(replace(stage, state=stale(stage.state)) for stage in report.stages),
        components=tuple(replace(item, state=stale(item.state)) for item in report.components),
    )


def _age_s(started_at: str, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(started_at)).total_seconds()
    except (ValueError, TypeError):  # no time, or one without a zone: as good as too old
        return float("inf")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m drm.github_badge_generator", description="Write status badges.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--input", type=Path, metavar="FILE", help="a report.json that `drm report` wrote")
    source.add_argument("--input-dir", type=Path, default=Path("reports"), metavar="DIR", help="default: reports")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--output", type=Path, metavar="FILE", help="write only the overall badge: FILE.svg, FILE.json")
    target.add_argument("--output-dir", type=Path, default=Path(".github/badges"), metavar="DIR")
    parser.add_argument("--label", default="DRM", help="text on the left of the overall badge")
    parser.add_argument("--component-badges", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--commit", default="", help="results of another commit are stale")
    parser.add_argument("--max-age", default="", metavar="TIME", help='older results are stale, such as "24h"')
    parser.add_argument("--markdown", action="store_true", help="also print the lines for a README")
    parser.add_argument("--repository", default="", help="owner/name, for --markdown")
    parser.add_argument("--branch", default="main", help="where the README's badges are read from")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write badges as the command line says; return the exit code.

    0; 1 when the report could not be read, and the badges say so; 4, as ``drm badges``, when none could be written.
    """
    given = _parser().parse_args(arguments)
    try:
        max_age_s = parse_duration(given.max_age, what="--max-age") if given.max_age else None
        if given.input is not None and not given.input.exists():
            raise ConfigError(f"{given.input}: there is no such file", remedy="run `drm report` first")
        report = _load(given.input if given.input is not None else given.input_dir)
        choice = {"label": given.label, "commit": given.commit, "max_age_s": max_age_s}
        folder = given.output.parent if given.output is not None else given.output_dir
        if given.output is not None:
            written = _write_one(report, given.output, **choice)
        else:
            written = generate_badges(report, folder, component_badges=given.component_badges, **choice)
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)
        return 4
    print("\n".join(str(path) for path in written))
    if given.markdown:
        where = {"repository": given.repository, "branch": given.branch}
        print("\n".join(readme_lines(report, written, label=given.label, **where)))
    unreadable = report.state is State.ERROR and not report.sections
    if unreadable:
        print(f"drm: {report.headline}", file=sys.stderr)
    return int(unreadable)


def _write_one(report: Report, output: Path, *, label: str, commit: str, max_age_s: float | None) -> list[Path]:
    draw = load_pybadges()
    aged = _aged(report, commit, max_age_s, datetime.now(UTC))
    badge = replace(badges_of(aged, label=label)[0], name=output.name.removesuffix(".svg").removesuffix(".json"))
    return list(write_badge(badge, aged, output.parent, draw))


if __name__ == "__main__":
    sys.exit(main())
