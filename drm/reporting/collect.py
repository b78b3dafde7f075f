"""Reads what the stages left in a folder of reports. Damage becomes a state, never a crash."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from drm.model.errors import DrmError
from drm.model.events import utc_text
from drm.model.stages import STAGES
from drm.model.trends import Trends
from drm.reporting import verdict
from drm.reporting.assembling import NO_TRENDS, OWN_RUN, assemble
from drm.reporting.codec import decode
from drm.reporting.files import read_json, stage_folders
from drm.reporting.measures import read_benchmarks, read_coverage
from drm.reporting.ndjson import read_events
from drm.reporting.report import Link, Report, RunReport, State, StatusFile
from drm.reporting.results import Head, check_version, read_head, read_results
from drm.reporting.text import one_line
from drm.summary import RunSummary, summarise

__all__ = ["RECORDS", "Replay", "build_report", "read_run", "replay_all"]

_STATUS_VERSION = 1
RECORDS = ("status.json", "results.json", "events.ndjson")


Replay = Callable[[Path, Callable[[str], None]], RunSummary]


def replay_all(path: Path, on_note: Callable[[str], None]) -> RunSummary:
    """Return what the recorded run came to."""
    return summarise(read_events(path, on_note=on_note))


def build_report(
    reports_dir: Path,
    *,
    now: datetime | None = None,
    links: Sequence[Link] = (),
    ci: str = "",
    trends: Trends = NO_TRENDS,
    stages: Sequence[str] = (),
    damage: list[str] | None = None,
    replay: Replay = replay_all,
) -> Report:
    """Return the report of everything under the folder; a folder that is empty or absent gives an empty report.

    ``links`` and ``ci``: where in CI it is made. ``stages``: those to report on; all if none is named. What cannot be
    read of the runs' records goes to ``damage``, a line each. ``replay`` makes the summary of an events.ndjson, and is
    told where to note half a line.
    """
    root = Path(reports_dir)
    problems: list[str] = []
    damage = damage if damage is not None else []
    return assemble(
        {
            stage.name: _runs(root, stage.name, damage, replay)
            for stage in (*STAGES, OWN_RUN)
            if not stages or stage.name in stages
        },
        created_at=utc_text(now if now is not None else datetime.now(UTC)),
        coverage=read_coverage(root / "coverage.json", problems),
        benchmarks=read_benchmarks(stage_folders(root, "performance"), problems),
        problems=tuple(problem.replace(f"{root}{os.sep}", "") for problem in problems),
        links=tuple(links),
        ci=ci,
        trends=trends,
        only=stages,
    )


def read_run(folder: Path, damage: list[str]) -> RunReport | None:
    """Return the run recorded in one folder, wherever it lies; None when there is no trace of one.

    What cannot be read there goes to ``damage``, a line each.
    """
    return _run(folder.parent, folder, folder.name, damage, replay_all)


def _runs(root: Path, stage: str, damage: list[str], replay: Replay) -> list[RunReport]:
    """Return the stage's runs: its own folder, and one per component where CI split it (``unit-<component>``)."""
    runs = []
    for folder in [root / stage] if stage == OWN_RUN.name else stage_folders(root, stage):
        its_damage: list[str] = []  # of this run alone: the state of a run tells of its own
        run = _run(root, folder, folder.name, its_damage, replay)
        damage += its_damage
        runs += [run] if run is not None else []
    return runs


def _run(root: Path, folder: Path, name: str, damage: list[str], replay: Replay) -> RunReport | None:
    """Return the run recorded in the folder, None when there is no trace of one."""
    inner_folders = sorted(path for path in (folder / "runs").iterdir()) if (folder / "runs").is_dir() else []
    inner = [_run(root, path, f"{name} / {path.name}", [], replay) for path in inner_folders]
    if not any((folder / record).exists() for record in RECORDS):
        return None
    notes: list[str] = []
    status = _status(folder / "status.json", damage)
    found: list[str] = []
    replayed = _replay(folder / "events.ndjson", found, notes, replay)
    head, summary = _results(folder / "results.json", damage, is_all_wanted=replayed is None)
    damage += found
    exit_code = head.exit_code if head is not None else None
    if replayed is not None and head is not None and _are_mixed(replayed.run_id, head.run_id):
        exit_code = None
        if replayed.finished:  # else that run was ended before it could write its results
            first, second = one_line(replayed.run_id, 40), one_line(head.run_id, 40)
            ids = f"events.ndjson is of run {first}, results.json of {second}"
            damage.append(f"{folder}: two runs are mixed here ({ids}); delete the folder and run the stage again")
    run = RunReport(name=name, state=State.MISSING, status=status, files=_files(root, folder))
    notes = [note.replace(f"{root}{os.sep}", "") for note in notes]
    # Events are the record; results.json is made from them and stands in where they are gone.
    summary = replayed if replayed is not None else summary
    if status is not None and status.run_id is not None and summary is not None and status.run_id != summary.run_id:
        summary = exit_code = None  # of an earlier run than the one that the status is of
    told = damage[0].replace(f"{root}{os.sep}", "") if damage else ""
    state, why = verdict.judge_run(summary, status, exit_code, told)
    return replace(
        run,
        state=state,
        why=why if not notes or state is not State.ERROR else f"{why} ({notes[0]})",
        summary=summary if summary is not None else RunSummary(),
        notes=tuple(notes),
        inner=tuple(item for item in inner if item is not None),
    )


def _are_mixed(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def _files(root: Path, folder: Path) -> tuple[str, ...]:
    wanted = (*RECORDS, "junit.xml", "stage.log")
    return tuple(Path(os.path.relpath(folder / name, root)).as_posix() for name in wanted if (folder / name).exists())


def _status(path: Path, damage: list[str]) -> StatusFile | None:
    if not path.exists():
        return None
    try:
        data = read_json(path)
        check_version(data.get("schema_version", _STATUS_VERSION), _STATUS_VERSION, path)
        return decode(StatusFile, data)
    except DrmError as error:
        damage.append(_naming(path, error))
        return None


def _results(path: Path, damage: list[str], *, is_all_wanted: bool) -> tuple[Head | None, RunSummary | None]:
    """Return what results.json says of the run, and all of it where there are no events to go by."""
    if not path.exists():
        return None, None
    try:
        if not is_all_wanted:
            return read_head(path), None
        results = read_results(path)
    except DrmError as error:
        damage.append(_naming(path, error))
        return None, None
    return Head(run_id=results.summary.run_id, exit_code=results.exit_code), results.summary


def _replay(path: Path, damage: list[str], notes: list[str], replay: Replay) -> RunSummary | None:
    if not path.exists():
        return None
    try:
        return replay(path, notes.append)
    except DrmError as error:
        damage.append(_naming(path, error))
    except (TypeError, ValueError, AttributeError, KeyError) as error:  # a field of a type that no event has
        damage.append(f"{path}: is damaged ({type(error).__name__}: {error}); delete it and run the tests again")
    return None


def _naming(path: Path, error: DrmError) -> str:
    text = str(error)
    return text if str(path) in text else f"{path}: {text}"
