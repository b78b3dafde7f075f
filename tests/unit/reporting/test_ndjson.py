from __future__ import annotations

import errno
from pathlib import Path

import pytest
from recorded import Tape, decision, suite, write_events

from drm.model import events as ev
from drm.model.errors import ConfigError, DrmError
from drm.model.plan import Refusal
from drm.model.work import Outcome
from drm.reporting.ndjson import NdjsonSink, read_events


def everything() -> list[ev.Event]:
    tape = suite("unit")
    tape.add(ev.ScalingDecided, 5.0, decision=decision(inputs=(("waiting", 8.0),), limits_hit=("max",)), outcome="ok")
    refusal = Refusal(task_id="a\ud800\u202e\n|`<script>]]>", reason="8 gpu of 0")
    tape.add(ev.PlanMade, 5.0, allocated=0, refusals=(refusal,), makespan_s=0.0, lower_bound_s=0.0)
    tape.add(ev.ForecastMade, 5.0, tasks=1, wall_s=1.0, longest_s=1.0, longest_task="t", methods=(("history", 1),))
    return tape.events


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "events.ndjson"
    write_events(path, everything())
    assert list(read_events(path)) == everything()


def test_what_was_flushed_is_there_without_a_close(tmp_path: Path) -> None:
    sink = NdjsonSink(tmp_path / "events.ndjson")
    first, second, *_ = everything()
    sink.emit(first)
    sink.flush()
    sink.emit(second)
    assert list(read_events(sink.path)) == [first]
    sink.close()
    sink.close()
    assert list(read_events(sink.path)) == [first, second]


def test_half_written_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    write_events(path, everything())
    path.write_bytes(path.read_bytes()[:-9])
    notes: list[str] = []
    assert list(read_events(path, on_note=notes.append)) == everything()[:-1]
    assert notes == [f"{path}: line {len(everything())} is only half written and was left out"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{nonsense", "no JSON"),
        (b"[1]", "no JSON object"),
        (b"[" * 100_000, "no JSON"),
        (b'{"event": "Unheard"}', "not known"),
        (b'{"event": "CancelRequested", "seq": 2}', "damaged"),
        (b'{"event": "CancelRequested", "seq": 7, "at": "", "elapsed_s": 0, "reason": ""}', "event 7 where 2 was due"),
        (b'{"event": "ScalingDecided", "seq": 2, "at": "", "elapsed_s": 0, "decision": 3}', "damaged"),
    ],
)
def test_damage_in_the_middle_names_file_line_and_remedy(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "events.ndjson"
    write_events(path, everything())
    lines = path.read_bytes().split(b"\n")
    lines[1] = line
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ConfigError) as caught:
        list(read_events(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: line 2 ")
    assert said in text
    assert text.endswith("delete it and run the tests again")
    assert "\n" not in text


def test_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    write_events(path, Tape(format_version=99).events)
    with pytest.raises(ConfigError, match="format 99, this drm reads up to 1; use a newer drm"):
        list(read_events(path))


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DrmError, match="cannot be read"):
        list(read_events(tmp_path / "none"))


def test_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Full:
        closed = False

        def write(self, data: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            self.closed = True

    sink = NdjsonSink(tmp_path / "events.ndjson")
    monkeypatch.setattr(sink, "_file", Full())
    sink.emit(everything()[0])
    with pytest.raises(DrmError, match=r"events\.ndjson: cannot be written \(No space left on device\); free some"):
        sink.flush()


def test_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DrmError, match="cannot be written"):
        NdjsonSink(tmp_path / "file" / "events.ndjson")


def test_outcomes_come_back_as_outcomes(tmp_path: Path) -> None:
    write_events(tmp_path / "e", everything())
    outcomes = [event.outcome for event in read_events(tmp_path / "e") if isinstance(event, ev.TestFinished)]
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    assert len(outcomes) == 4
