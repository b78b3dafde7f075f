"""The few lines that show how a run goes."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from recorded import GIB, ONE, TWO, Tape, decision

from drm.model import events as ev
from drm.model.plan import ScalingAction
from drm.model.resources import Resources
from drm.ports import Status
from drm.reporting.live import Activity, decision_text, draw
from drm.status_line import StatusLine

pytest.importorskip("rich", reason="rich is not installed: pip install rich")
HOSTILE = "test.py::\x1b[2J\x1b]0;title\x07 [bold]red[/bold] \u202etfel \ud800" + "x" * 500
CODES = re.compile(r"\x1b\[[0-9;]*m")


def fed(tape: Tape) -> Activity:
    activity = Activity()
    for event in tape.events:
        activity.emit(event)
    return activity


def status(**changes: Any) -> Status:
    whole = Resources(cpu_cores=4, memory_bytes=8 * GIB, gpus=1)
    known: dict[str, Any] = {"workers": 2, "executors": 4, "running": 3, "reserved": ONE, "capacity": whole}
    known |= {"finished": 50, "total": 200, "failed": 1, "eta_s": 61.0}
    return Status(**(known | changes))


def busy() -> Tape:
    tape = Tape(["a", "b", "c"])
    tape.start("a", 1.0)
    tape.start("b", 2.0, executor="w1-e2")
    tape.start(HOSTILE, 3.0, worker="w2", executor="w2-e1")
    tape.add(ev.ScalingDecided, 3.0, decision=decision(ScalingAction.HOLD, "wait"))
    tape.add(ev.ScalingDecided, 4.0, decision=decision(reason="8 tests wait", wanted=5, granted=3))
    tape.add(ev.ScalingDecided, 5.0, decision=decision(ScalingAction.DENIED, HOSTILE, granted=1))
    return tape


def test_what_runs_longest_and_what_was_decided_is_known() -> None:
    tape = busy()
    assert fed(tape).longest() == [("a", 1.0), ("b", 2.0)]
    tape.end("a", 6.0)
    assert [name for name, _ in fed(tape).longest()] == ["b", HOSTILE]
    tape.add(ev.WorkerLost, 7.0, worker_id="w2", reason="killed", requeued=1)
    activity = fed(tape)
    assert [name for name, _ in activity.longest()] == ["b"]
    assert [(at_s, found.action.value) for at_s, found in activity.decided()] == [(4.0, "up"), (5.0, "denied")]


def test_news_is_told_once() -> None:
    activity = fed(busy())
    assert activity.news() == "denied 1 → 1 of 2 wanted cpu (queue) (1 before it)"
    assert activity.news() == ""
    assert decision_text(decision()) == "up 1 → 2 cpu (queue)"


@pytest.mark.parametrize("width", [20, 39, 80, 99, 100, 101, 200])
def test_lines_fit_and_hold_nothing_but_colours_that_a_terminal_obeys(width: int) -> None:
    lines = draw(status(), fed(busy()), 6.0, width)
    assert len(lines) == 6
    for line in lines:
        plain = CODES.sub("", line)
        assert len(plain) <= width
        assert plain.isprintable()
    assert "50/" in CODES.sub("", lines[0])


def test_everything_is_said_where_there_is_room() -> None:
    text = CODES.sub("", "\n".join(draw(status(held=True), fed(busy()), 6.0, 200)))
    for words in (
        "50/200 25%",
        "1 failed",
        "ETA 1m01s",
        "1/4",
        "1 GiB/8 GiB",
        "gpu",
        "2 workers, 4 executors, 3 running",
    ):
        assert words in text
    assert "no more for want of memory" in text
    assert re.search(r"5\.0 s a$", text, re.MULTILINE)
    assert "up 1 → 3 of 5 wanted cpu (queue) at 4.0 s: 8 tests wait" in text
    assert "[bold]red[/bold]" in text, "names are no markup"


def test_a_run_that_has_just_begun_is_drawn() -> None:
    nothing = status(workers=0, executors=0, running=0, total=0, finished=0, capacity=Resources(), eta_s=None)
    assert len(draw(nothing, Activity(), 0.0, 80)) == 2


class Reporter:
    """What of pytest's terminal reporter is used."""

    def __init__(self, *, isatty: bool) -> None:
        self.isatty = isatty
        self.lines: list[str] = []
        self.raw = ""
        file = SimpleNamespace(write=self._write, flush=lambda: None)
        self._tw = SimpleNamespace(fullwidth=100, width_of_current_line=0, line=lambda: None, _file=file)

    def _write(self, text: str) -> None:
        self.raw += text

    def write_line(self, line: str) -> None:
        self.lines.append(line)


def shown_on(reporter: Reporter, now: list[float]) -> StatusLine:
    manager = SimpleNamespace(get_plugin=lambda _: reporter)
    config: Any = SimpleNamespace(pluginmanager=manager, getoption=lambda name, default: default)
    return StatusLine(config, lambda: now[0])


def test_without_a_terminal_there_is_a_line_every_ten_seconds_with_what_was_decided() -> None:
    now, reporter = [0.0], Reporter(isatty=False)
    line = shown_on(reporter, now)
    for event in busy().events:
        line.activity.emit(event)
    for tenths in range(300):
        now[0] = tenths / 10
        line.show(status(capacity=TWO))
    first, second = reporter.lines
    assert first.startswith("drm: 50/200 25% | 1 failed | ETA 1m01s | 3 running")
    assert first.endswith("| scaling: denied 1 → 1 of 2 wanted cpu (queue) (1 before it)")
    assert "scaling" not in second
    assert reporter.raw == ""


def test_lines_on_a_terminal_are_taken_away_as_many_as_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "40")
    reporter = Reporter(isatty=True)
    line = shown_on(reporter, [0.0])
    tape = busy()
    for event in tape.events:
        line.activity.emit(event)
    line.show(status())
    assert reporter.raw.startswith("\x1bD" * 6 + "\x1b[6A\x1b7\x1b[B\r\x1b[2K")
    tape.end("a", 6.0)
    line.activity.emit(tape.events[-1])
    tape.end("b", 6.0, executor="w1-e2")
    line.activity.emit(tape.events[-1])
    reporter.raw = ""
    line.show(status())
    assert reporter.raw.startswith("\x1b7" + "\x1b[B\r\x1b[2K" * 6 + "\x1b8" + "\x1bD" * 5), "fewer lines than before"
    reporter.raw = ""
    line.end()
    assert reporter.raw == "\x1b7" + "\x1b[B\r\x1b[2K" * 5 + "\x1b8"
    line.restore()
    assert reporter.raw.count("\x1b8") == 1
