"""``drm history export``, ``import``, ``prune`` and ``merge``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drm.history.database import Database
from drm.history.exchange import Batch, export_lines, from_durations, from_lines, from_pytest_cache, run_id_of
from drm.history.merging import merge, sort_by_time
from drm.history.retention import Retention, transaction
from drm.history_command.showing import open_existing
from drm.model.errors import ConfigError
from drm.model.samples import RunFacts, Sample
from drm.model.work import Outcome, Usage
from drm.reporting.junit_file import Case, read_junit

_SQLITE = b"SQLite format 3\x00"
_VERDICTS = {"": Outcome.PASSED, "failure": Outcome.FAILED, "error": Outcome.ERROR, "skipped": Outcome.SKIPPED}


def add_to(commands: Any) -> None:
    """Add the commands to those of ``drm history``."""
    export = commands.add_parser("export", help="write every attempt as a line of JSON")
    export.add_argument("--output", type=Path, default=None, help="a file (default: to the terminal)")
    export.set_defaults(call=_export)
    importing = commands.add_parser(
        "import", help="take in .test_durations, a junit.xml, a .pytest_cache folder, or what export wrote"
    )
    importing.add_argument("files", nargs="+", type=Path, metavar="FILE")
    importing.set_defaults(call=_import)
    prune = commands.add_parser("prune", help="leave out old attempts, and give the space back")
    prune.add_argument("--per-test", type=int, default=Retention().per_test, metavar="N", help="keep so many of a test")
    prune.add_argument("--days", type=float, default=Retention().days, help="and those of so many days")
    prune.set_defaults(call=_prune)
    merging = commands.add_parser("merge", help="take over what other histories hold, such as those of CI's shards")
    merging.add_argument("files", nargs="+", type=Path, metavar="HISTORY")
    merging.set_defaults(call=_merge)


def _export(options: argparse.Namespace) -> int:
    store = open_existing(options.file)
    try:
        if options.output is None:
            _write(export_lines(store.connection), sys.stdout)
        else:
            with options.output.open("w", encoding="utf-8") as stream:
                _write(export_lines(store.connection), stream)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise ConfigError(f"{options.output} cannot be written ({error.strerror})", remedy="name another") from error
    finally:
        store.abandon()
    return 0


def _write(lines: Iterable[str], stream: Any) -> None:
    for line in lines:
        stream.write(f"{line}\n")


def _import(options: argparse.Namespace) -> int:
    batches = [(path, _read(path)) for path in options.files]  # all of them, before anything is written
    store = _open_or_make(options.file)
    try:
        for path, runs in batches:
            taken = sum(_take(store, batch) for batch in runs)
            known = sum(len(batch.samples) for batch in runs)
            print(f"{path}: {taken} attempts taken in" + (f", {known - taken} left out" if known > taken else ""))
        with transaction(store.connection):
            sort_by_time(store.connection)  # what is imported may be older than what is known
        store.prune()
    finally:
        store.abandon()
    return 0


def _take(store: Database, batch: Batch) -> int:
    """Record a run's samples unless they are there already; return how many were."""
    count = "SELECT count(*) FROM attempts JOIN runs ON runs.id = attempts.run WHERE run_id = ?"
    (present,) = store.connection.execute(count, (batch.facts.run_id,)).fetchone()
    if present or not batch.samples:
        return 0
    store.begin(batch.facts)
    store.record(batch.facts.run_id, batch.samples)
    (taken,) = store.connection.execute(count, (batch.facts.run_id,)).fetchone()
    return int(taken)


def _read(path: Path) -> list[Batch]:
    """Return what a file or folder of any of the formats holds; ConfigError where it is of none."""
    try:
        at = path.stat().st_mtime
        if path.is_dir():
            folder = path if (path / "v").is_dir() else path / ".pytest_cache"
            if not (folder / "v").is_dir():
                raise ConfigError(f"{path} is no cache of pytest's", remedy="name a .pytest_cache folder")
            content = b"".join(file.read_bytes() for file in sorted((folder / "v" / "cache").glob("*ed*")))
            return [from_pytest_cache(folder, _facts(path, content, at))]
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})", remedy="name another file") from error
    facts = _facts(path, content, at)
    if content.startswith(_SQLITE):
        raise ConfigError(f"{path} is a history itself", remedy=f"write: drm history merge {path}")
    if content.lstrip()[:1] == b"<":
        cases = [case for suite in read_junit(path, path.name) for case in suite.cases]
        samples = tuple(_sample(case, facts.started_at) for case in cases)
        return [Batch(facts=facts, samples=samples)]
    text = content.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return from_lines(text, path.name)
    if isinstance(data, dict) and "wall_s" not in data:
        return [from_durations(data, facts)]
    return from_lines(text, path.name)


def _facts(path: Path, content: bytes, at: float) -> RunFacts:
    return RunFacts(run_id=run_id_of(path.absolute(), content), started_at=at, origin=path.name)


def _sample(case: Case, at: float) -> Sample:
    outcome = _VERDICTS.get(case.verdict, Outcome.ERROR)
    return Sample(task_id=_nodeid(case), usage=Usage(wall_s=case.time_s), outcome=outcome, at=at)


def _nodeid(case: Case) -> str:
    """Return the nodeid that pytest made classname and name of: the module is the longest part that is a file here."""
    parts = case.classname.split(".") if case.classname else []
    count = len(parts)
    if case.file:
        stem = case.file.removesuffix(".py").replace("\\", "/").split("/")
        count = len(stem) if parts[: len(stem)] == stem else count
    else:
        files = (number for number in range(len(parts), 0, -1) if Path(*parts[:number]).with_suffix(".py").is_file())
        classes = (number for number, part in enumerate(parts) if part[:1].isupper())
        count = next(files, next(classes, len(parts)))
    module = "/".join(parts[:count]) + ".py" if parts else case.file
    return "::".join((module, *parts[count:], case.name))


def _prune(options: argparse.Namespace) -> int:
    if options.per_test < 1 or not options.days > 0:
        raise ConfigError("--per-test and --days: give numbers above 0", remedy="such as --per-test 50 --days 365")
    store = open_existing(options.file)
    try:
        removed = store.prune(Retention(per_test=options.per_test, days=options.days))
        store.connection.execute("VACUUM")
    finally:
        store.abandon()
    print(f"{options.file}: {removed} attempts left out")
    return 0


def _merge(options: argparse.Namespace) -> int:
    store = _open_or_make(options.file)
    try:
        for path in options.files:
            merged = merge(store, path)
            taken = f"{merged.attempts} attempts of {merged.runs} runs taken over"
            print(f"{path}: {taken}, {merged.present} were there already")
        store.prune()
    finally:
        store.abandon()
    return 0


def _open_or_make(path: Path) -> Database:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path.parent} cannot be made ({error.strerror})", remedy="name another file") from error
    return Database(path)
