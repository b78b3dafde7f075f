"""Files that are damaged, newer, read-only or full; processes killed while they write."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

import drm
from drm.history import database, guarded, open_history
from drm.history.database import Database
from drm.model.samples import RunFacts, Sample
from drm.model.work import Outcome, Usage
from drm.ports import HistoryStore

BATCH = [
    Sample(task_id=f"m.py::t{number}", usage=Usage(wall_s=1.0, peak_rss_bytes=1000), outcome=Outcome.PASSED)
    for number in range(40)
]
IDS = [sample.task_id for sample in BATCH]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def warnings() -> list[str]:
    return []


def filled(path: Path, batches: int = 20) -> None:
    store = open_history(path, warn=print)
    for number in range(batches):
        store.record(f"run-{number}", BATCH)
    store.close()


def still_works(store: HistoryStore) -> bool:
    store.record("run", BATCH)
    found = store.samples(IDS)
    return set(found) == set(IDS)


def set_aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.damaged-*"))


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"\x00" * 8192])
def test_a_file_that_is_no_database_is_set_aside(path: Path, warnings: list[str], content: bytes) -> None:
    path.write_bytes(content)
    store = open_history(path, warn=warnings.append)
    assert still_works(store)
    store.close()
    if content.startswith(b"this"):
        (aside,) = set_aside(path)
        assert aside.read_bytes() == content
        assert len(warnings) == 1
        assert "\n" not in warnings[0]
        assert aside.name in warnings[0]
        assert "damaged" in warnings[0]


def test_what_sqlite_keeps_beside_a_damaged_file_goes_with_it(path: Path, warnings: list[str]) -> None:
    filled(path, batches=1)
    other_run = sqlite3.connect(path)
    other_run.execute("INSERT INTO runs (run_id) VALUES ('other')")
    other_run.commit()  # in the -wal file, which stays while this connection is open
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * 4096 * 5)
    store = open_history(path, warn=warnings.append)
    assert still_works(store)
    store.close()
    other_run.close()
    suffixes = {file.name.rpartition("Z")[2] for file in set_aside(path)}
    assert suffixes == {"", "-wal", "-shm"}
    assert len(warnings) == 1


def test_damage_found_while_reading_is_set_aside_then(path: Path, warnings: list[str]) -> None:
    filled(path)
    content = bytearray(path.read_bytes())
    content[4096:] = random.Random(1).randbytes(len(content) - 4096)
    path.write_bytes(content)
    store = open_history(path, warn=warnings.append)
    assert store.samples(IDS) == {}
    assert still_works(store)
    store.close()
    assert len(set_aside(path)) == len(warnings) == 1
    assert still_works(open_history(path, warn=warnings.append))
    assert len(warnings) == 1


def test_every_single_damaged_page_is_survived(tmp_path: Path) -> None:
    filled(tmp_path / "sound.db", batches=5)
    sound = (tmp_path / "sound.db").read_bytes()
    for number, start in enumerate(range(0, len(sound), 4096)):
        path = tmp_path / f"case{number}" / "history.db"
        path.parent.mkdir()
        path.write_bytes(sound[:start] + b"\xa5" * 4096 + sound[start + 4096 :])
        lines: list[str] = []
        store = open_history(path, warn=lines.append)
        store.samples(IDS)
        assert still_works(store)
        store.close()
        assert len(lines) <= 1


def test_a_cut_file_is_survived(tmp_path: Path) -> None:
    filled(tmp_path / "sound.db", batches=5)
    sound = (tmp_path / "sound.db").read_bytes()
    for length in (1, 50, 100, 4096, 5000, len(sound) // 2, len(sound) - 1):
        path = tmp_path / f"cut{length}" / "history.db"
        path.parent.mkdir()
        path.write_bytes(sound[:length])
        lines: list[str] = []
        store = open_history(path, warn=lines.append)
        assert still_works(store)
        store.close()
        assert len(lines) <= 1


def test_a_newer_format_is_left_alone(path: Path, warnings: list[str]) -> None:
    filled(path, batches=1)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    store = open_history(path, warn=warnings.append)
    assert still_works(store)
    store.close()
    assert path.read_bytes() == before
    assert set_aside(path) == []
    assert len(warnings) == 1
    assert "newer" in warnings[0]
    assert "upgrade drm" in warnings[0]


def test_a_folder_that_cannot_be_made_means_memory(tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / "file").write_text("")
    store = open_history(tmp_path / "file" / "history.db", warn=warnings.append)
    assert still_works(store)
    store.close()
    assert len(warnings) == 1
    assert str(tmp_path / "file" / "history.db") in warnings[0]


def test_a_full_disk_is_said_once_and_the_run_goes_on(path: Path, warnings: list[str]) -> None:
    store = open_history(path, warn=warnings.append)
    assert isinstance(store, guarded.GuardedHistory)
    store.record("before", BATCH)
    database = store._store
    assert isinstance(database, Database)
    (pages,) = database._connection.execute("PRAGMA page_count").fetchone()
    database._connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(60):
        store.record(f"run-{number}", BATCH)
    store.close()
    assert len(warnings) == 1
    assert "full" in warnings[0]
    assert "; free some space" in warnings[0]
    kept = open_history(path, warn=warnings.append).samples(IDS)
    assert set(kept) == set(IDS), "what was recorded before is not lost"


def test_a_disk_too_full_to_begin_is_said_once_and_is_no_damage(
    path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnAFullDisk(Database):
        def _prepare(self, path: Path, *, read_only: bool) -> None:
            self._connection.execute("PRAGMA max_page_count = 1")
            super()._prepare(path, read_only=read_only)

    with monkeypatch.context() as patch:
        patch.setattr(guarded, "Database", OnAFullDisk)
        store = open_history(path, warn=warnings.append)
        assert store.samples(IDS) == {}
        assert still_works(store)
        store.close()
    (line,) = warnings
    assert "database or disk is full" in line
    assert "; free some space" in line
    assert "damaged" not in line
    assert set_aside(path) == []
    store = open_history(path, warn=warnings.append)
    assert still_works(store), "with space again, what was begun is no obstacle"
    store.close()
    assert len(warnings) == 1


def test_a_file_that_cannot_be_written_is_still_read(
    path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, batches=1)

    def refuse_to_write(where: Path, *, read_only: bool = False) -> Database:
        if not read_only:
            raise sqlite3.OperationalError("unable to open database file")
        return Database(where, read_only=True)

    monkeypatch.setattr(guarded, "Database", refuse_to_write)
    store = open_history(path, warn=warnings.append)
    store.record("run", BATCH)
    assert {len(rows) for rows in store.samples(IDS).values()} == {1}
    store.close()
    assert len(warnings) == 1
    assert "cannot be written" in warnings[0]
    assert f"see to the permissions of {path.parent}" in warnings[0]


def test_a_write_that_is_refused_later_is_said_once(path: Path, warnings: list[str]) -> None:
    store = open_history(path, warn=warnings.append)
    assert isinstance(store, guarded.GuardedHistory)
    file = store._store
    assert isinstance(file, Database)
    store.record("before", BATCH)
    file._connection.execute("PRAGMA query_only = 1")
    for _ in range(2):
        store.record("run", BATCH)
        assert {len(rows) for rows in store.samples(IDS).values()} == {1}, "what is there is read"
    store.close()
    assert len(warnings) == 1


def test_a_file_that_another_program_keeps_locked_is_read(
    path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, batches=1)
    monkeypatch.setattr(database, "PATIENCE_S", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store = open_history(path, warn=warnings.append)
        store.begin(RunFacts(run_id="run"))
        store.record("run", BATCH)
        assert {len(rows) for rows in store.samples(IDS).values()} == {1}
        store.close()
    (line,) = warnings
    assert "cannot be written (database is locked)" in line
    assert line.endswith("; wait for the program that keeps it locked, or end it")


def test_two_first_runs_at_the_same_time_make_one_file(path: Path, warnings: list[str]) -> None:
    """SQLite itself does not wait where the file is to change to WAL mode."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.1, other.rollback)
    end.start()
    store = open_history(path, warn=warnings.append)
    end.join()
    other.close()
    assert still_works(store)
    store.close()
    assert warnings == []
    assert path.exists()


WRITER = """
import sys
from pathlib import Path
from drm.history import open_history
from drm.model.work import Outcome, Usage
from drm.model.samples import Sample
store = open_history(Path(sys.argv[1]), warn=print)
number = 0
while True:
    rows = [
        Sample(task_id=f"t{place}", usage=Usage(wall_s=float(number)), outcome=Outcome.PASSED) for place in range(40)
    ]
    store.record("run", rows)
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("batches", [1, 7, 40])
def test_a_process_killed_while_writing_leaves_whole_batches(path: Path, batches: int) -> None:
    source = str(Path(drm.__file__).parents[1])
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(batches)]
    writer.send_signal(signal.SIGKILL)
    told += [int(line) for line in writer.stdout.read().split("\n") if line.strip()]
    writer.wait()
    writer.stdout.close()

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        walls = connection.execute("SELECT wall_s, count(*) FROM attempts GROUP BY wall_s").fetchall()
    connection.close()
    assert {count for _, count in walls} == {40}
    assert {float(number) for number in told} <= {wall_s for wall_s, _ in walls}
    lines: list[str] = []
    store = open_history(path, warn=lines.append)
    assert len(store.samples(["t0"])["t0"]) == min(20, len(walls))
    store.close()
    assert lines == []
