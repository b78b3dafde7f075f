from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from recorded import decision, suite

from drm.model import events as ev
from drm.model.errors import ConfigError, DrmError
from drm.model.trends import PastRun, Trends
from drm.reporting.codec import decode, encode
from drm.reporting.results import read_results, write_results
from drm.summary import RunSummary, TestRecord, summarise


def summary() -> RunSummary:
    tape = suite("unit")
    tape.add(ev.ScalingDecided, 3.0, decision=decision(inputs=(("waiting", 8.0),)), outcome="granted")
    return summarise(tape.events)


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    write_results(summary(), path, exit_code=1)
    results = read_results(path)
    assert (results.summary, results.collected, results.exit_code) == (summary(), 4, 1)
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]
    assert json.loads(path.read_text())["schema_version"] == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 3}, "schema_version 3, this drm reads up to 2; use a newer drm"),
        ({"schema_version": 1}, "schema_version 1, this drm reads from 2 on; run the stage again"),
        ({"schema_version": None}, "schema_version is None"),
        ({"schema_version": True}, "schema_version is True"),
        ({"collected": 3}, "3 tests collected, 4 counted"),
        ({"collected": "4"}, "collected should be a whole number"),
        ({"summary": []}, "summary should be an object"),
        ({"exit_code": "x" * 1000}, "exit_code should be a whole number, not 'xxx"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "results.json"
    write_results(summary(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError) as caught:
        read_results(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\x00\xff"])
def test_what_is_no_document_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="is damaged"):
        read_results(path)


def test_wrong_value_deep_inside_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(summary(), path)
    data = json.loads(path.read_text())
    data["summary"]["tests"]["outcome"][2] = "splendid"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"summary\.tests\.outcome\[2\] should be one of passed, .*'splendid'"):
        read_results(path)


def test_full_disk_is_one_line_and_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(summary(), path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DrmError, match="No space left on device"):
        write_results(RunSummary(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_that_json_lacks_become_null_and_come_back() -> None:
    record = TestRecord(task_id="t", outcome=summary().tests[0].outcome, component="c", wall_s=float("inf"))
    document = encode(record)
    assert document["wall_s"] is None
    back = decode(TestRecord, document)
    assert back.wall_s != back.wall_s
    with pytest.raises(ConfigError, match="task_id is missing"):
        decode(TestRecord, {})


def test_lone_surrogate_in_a_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(summarise(suite("unit", {"t\ud800": summary().tests[0].outcome}).events), path)
    assert read_results(path).summary.tests[0].task_id == "t\ud800"


def test_a_column_that_came_later_may_be_missing() -> None:
    kept = Trends(branch="main", runs=(PastRun(run_id="a", suite="unit", at="t", tests=3),))
    data = encode(kept)
    del data["runs"]["allocation_s"]
    assert decode(Trends, data) == kept
    del data["runs"]["at"]
    with pytest.raises(ConfigError, match=r"runs\.at should be a list"):
        decode(Trends, data)
