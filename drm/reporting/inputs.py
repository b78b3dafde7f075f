"""A report, and what of it could not be read: of the folder of the stages, or of files named by patterns.

What cannot be used is said in a line, and the state tells of it: nothing is passing that was read in part.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import drm
from drm.model.errors import ConfigError, DrmError
from drm.model.events import utc_text
from drm.model.stages import STAGES
from drm.reporting import verdict
from drm.reporting.assembling import OWN_RUN, assemble
from drm.reporting.collect import RECORDS, build_report, read_run
from drm.reporting.files import check_folder, read_json
from drm.reporting.json_report import read_report
from drm.reporting.measures import read_benchmarks, read_coverage
from drm.reporting.report import Benchmark, Cell, Coverage, Report, RunReport, State
from drm.reporting.results import read_results
from drm.reporting.text import one_line

__all__ = ["Inputs", "read_folder", "read_inputs"]

_OF_A_RUN = (*RECORDS, "benchmark.json", "junit.xml")  # a file of these names stands for the folder it lies in
_MEASURING = "performance"  # the stage whose runs have benchmarks beside their tests
_MOST_CHARACTERS = 400  # of a line about an input


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """``report``: of all inputs together. ``problems``: what could not be read, or matched nothing, a line each."""

    report: Report
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Pool:
    """What has been read so far."""

    runs: dict[str, list[RunReport]] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    coverage: Coverage | None = None
    benchmarks: list[Benchmark] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)  # in the record of a run, whose state tells of it
    unmeasured: list[str] = field(default_factory=list)  # coverage and benchmarks, whose badges tell of it
    errors: list[str] = field(default_factory=list)  # of what nothing else tells
    known: set[tuple[str, str, str]] = field(default_factory=set)

    def add_run(self, stage: str, run: RunReport) -> bool:
        """Add the run, unless it is there: a report.json tells of the same runs as the folders beside it, which may
        have other names now."""
        key = (stage, run.summary.run_id, run.summary.started_at)
        if run.summary.run_id and key in self.known:
            return False
        self.known.add(key)
        self.runs.setdefault(stage, []).append(run)
        return True

    def add_report(self, report: Report) -> None:
        self.reports.append(report)
        is_new = True
        for stage in (*report.stages, *([report.own_run] if report.own_run is not None else [])):
            added = [self.add_run(stage.name, run) for run in stage.runs]
            is_new = is_new and (stage.name != _MEASURING or all(added))
        self.coverage = report.coverage or self.coverage
        self.benchmarks += report.benchmarks if is_new else ()
        self.problems += report.problems


def read_folder(folder: Path, *, now: datetime | None = None) -> Inputs:
    """Return the report of a folder of stages, and what in it could not be read; ConfigError where there is none."""
    check_folder(folder)
    damage: list[str] = []
    report = build_report(folder, now=now, damage=damage)
    return Inputs(
        report=report,
        problems=tuple(one_line(problem, _MOST_CHARACTERS) for problem in (*damage, *report.problems)),
    )


def read_inputs(patterns: Sequence[str], *, now: datetime | None = None) -> Inputs:
    """Return the report of all files that match: each a report.json, or a file (or the folder) of a run's record.

    The stage of a run is the one that the name of its folder has in it (``unit-resource_optimizer``); a run without
    one counts as the user's own. Never raises for what is in a file; ConfigError for a name without ``*``, ``?`` or
    ``[`` of which there is no file.
    """
    created_at = utc_text(now if now is not None else datetime.now(UTC))
    files, unmatched = _expand(patterns)
    pool = _Pool()
    folders: dict[Path, Path] = {}
    for path in files:
        if path.is_dir() or path.name in _OF_A_RUN:
            folder = path if path.is_dir() else path.parent
            folders.setdefault(folder.resolve(), folder)
    for folder in folders.values():
        _read_folder(pool, folder)
    for path in files:
        if not path.is_dir() and path.name not in _OF_A_RUN:
            _read_file(pool, path)
    return _judged(pool, unmatched, is_one=len(files) == 1, created_at=created_at)


def _expand(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the files that match, each once, and the patterns that nothing matches."""
    files: dict[Path, None] = {}
    unmatched: list[str] = []
    for pattern in patterns:
        if Path(pattern).exists():  # also one with brackets in its name
            matches = [pattern]
        elif not glob.has_magic(pattern):
            raise ConfigError(f"{_shown(pattern)}: there is no such file", remedy="run `drm report` first")
        else:
            matches = sorted(glob.glob(pattern, recursive=True))
        files.update((Path(match), None) for match in matches)
        if not matches:
            unmatched.append(f"{_shown(pattern)}: no file matches")
    return list(files), unmatched


def _read_folder(pool: _Pool, folder: Path) -> None:
    damage: list[str] = []  # of this run alone: the state of a run tells of its own
    run = read_run(folder, damage)
    pool.damage += damage
    if run is None:
        remedy = "name a run's folder or file; the folder of all stages goes to --input-dir"
        pool.errors.append(f"{_shown(str(folder))}: has no record of a run ({', '.join(RECORDS)}); {remedy}")
        return
    stage = _stage_of(folder.resolve().name)
    if pool.add_run(stage, run) and stage == _MEASURING:
        pool.benchmarks += read_benchmarks([folder], pool.unmeasured)


def _read_file(pool: _Pool, path: Path) -> None:
    """Read a file by what is in it, for it may have been renamed."""
    try:
        if path.name == "coverage.json":
            pool.coverage = read_coverage(path, pool.unmeasured) or pool.coverage
            return
        data = read_json(path, remedy="run `drm report` again")
        if "collected" in data and "summary" in data:
            _read_results(pool, path)
        else:
            pool.add_report(read_report(path))
    except DrmError as error:
        pool.errors.append(one_line(str(error), _MOST_CHARACTERS))


def _read_results(pool: _Pool, path: Path) -> None:
    results = read_results(path)
    state, why = verdict.judge_run(results.summary, None, results.exit_code, "")
    run = RunReport(name=path.stem, state=state, why=why, summary=results.summary, files=(path.name,))
    pool.add_run(OWN_RUN.name, run)


def _stage_of(name: str) -> str:
    """Return the stage whose name comes first in a folder's name (``test-results-unit``), else that of own runs."""
    found = {stage.name: re.search(rf"(?:^|[-.]){re.escape(stage.name)}(?:[-.]|$)", name) for stage in STAGES}
    places = {stage: match.start() for stage, match in found.items() if match is not None}
    return min(places, key=places.__getitem__, default=OWN_RUN.name)


def _judged(pool: _Pool, unmatched: Sequence[str], *, is_one: bool, created_at: str) -> Inputs:
    unread = (*pool.errors, *pool.damage, *pool.unmeasured, *unmatched)
    problems = tuple(one_line(problem, _MOST_CHARACTERS) for problem in unread)
    if is_one and pool.reports and not problems:
        return Inputs(report=pool.reports[0])
    if not pool.runs and not pool.reports:
        state = State.ERROR if pool.errors else State.MISSING
        headline = problems[0] if problems else "Nothing was named that tells of a run."
        nothing = Cell(state=State.NO_TESTS)
        empty = Report(
            state=state, headline=headline, created_at=created_at, drm_version=drm.__version__, tests=nothing
        )
        return Inputs(report=empty, problems=problems)
    report = assemble(
        pool.runs,
        created_at=created_at,
        coverage=pool.coverage,
        benchmarks=tuple(pool.benchmarks),
        problems=tuple(dict.fromkeys((*pool.problems, *problems))),
    )
    report = _with_own_run(report)
    if pool.errors:
        report = _with_states(report, State.ERROR)
    elif unmatched:
        report = replace(report, state=verdict.worst((report.state, State.PARTIAL)))
    if problems:
        headline = f"{report.state.words.capitalize()}: {problems[0]}; {report.headline.partition(': ')[2]}"
        report = replace(report, headline=headline)
    return Inputs(report=report, problems=problems)


def _with_own_run(report: Report) -> Report:
    """Return the report with its own run counted beside the stages: here somebody asked for it by name."""
    if report.own_run is None or not any(stage.runs for stage in report.stages):
        return report
    runs = (run for stage in report.sections for run in stage.runs)
    tests = verdict.cell_of(test for run in runs for test in run.summary.tests)
    return replace(report, state=verdict.worst((report.state, report.own_run.state)), tests=tests)


def _with_states(report: Report, state: State) -> Report:
    """Return the report with everything in one state: what could not be read may have told of anything."""
    return replace(
        report,
        state=state,
        stages=tuple(replace(stage, state=state) for stage in report.stages),
        components=tuple(replace(item, state=state) for item in report.components),
    )


def _shown(name: str) -> str:
    return one_line(name, 200)
