"""A run as a page while it goes on: what is read again, when the page is told, and who may see it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import Tape, leave_all, suite, write_events

from drm.model.errors import ConfigError
from drm.model.work import Outcome
from drm.report_commands.dashboard import application, changes, main
from drm.report_commands.watching import Watched, as_it_goes
from drm.reporting.collect import build_report
from drm.reporting.following import Follower
from drm.reporting.ndjson import read_events
from drm.reporting.report import State
from drm.simulator.acts import VirtualClock
from drm.summary import summarise

NAMES = [f"tests/unit/test_a.py::test_{n}" for n in range(3)]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def unheard(line: str) -> None:
    raise AssertionError(line)


def test_what_is_read_in_parts_is_what_is_read_at_once(tmp_path: Path) -> None:
    whole, growing = tmp_path / "whole.ndjson", tmp_path / "growing.ndjson"
    write_events(whole, suite("unit").events)
    follower = Follower()
    text = whole.read_text()
    growing.touch()
    for begin, end in itertools.pairwise((0, 10, 500, 501, 1200, len(text))):
        append(growing, text[begin:end])
        follower.replay(growing, unheard)
    assert follower.replay(growing, unheard) == summarise(read_events(whole))


def test_another_run_in_the_same_file_is_read_from_its_begin(tmp_path: Path) -> None:
    path, follower = tmp_path / "events.ndjson", Follower()
    write_events(path, suite("unit").events)
    assert follower.replay(path, unheard).run_id == "r1"
    write_events(
        path,
        suite(
            "unit", dict.fromkeys(NAMES, Outcome.FAILED) | dict.fromkeys("abcdef", Outcome.PASSED), run_id="r2"
        ).events,
    )
    second = follower.replay(path, unheard)
    assert (second.run_id, second.bad) == ("r2", 3)
    write_events(path, Tape(run_id="r2").events)
    assert follower.replay(path, unheard).collected == 0, "a shorter file is another one"


def test_damage_is_told_and_read_over_when_it_is_mended(tmp_path: Path) -> None:
    path, follower = tmp_path / "events.ndjson", Follower()
    write_events(path, suite("unit").events)
    good = path.read_text()
    follower.replay(path, unheard)
    append(path, "damaged\n")
    with pytest.raises(ConfigError, match="is damaged"):
        follower.replay(path, unheard)
    path.write_text(good)
    assert follower.replay(path, unheard).finished


def watched(folder: Path, clock: Callable[[], float]) -> Watched:
    return Watched(folder / "reports", history=folder / "history.db", now=clock)


def test_a_page_is_made_again_when_something_was_written_and_not_at_once(tmp_path: Path, clock: VirtualClock) -> None:
    record = tmp_path / "reports" / "run" / "events.ndjson"
    live = watched(tmp_path, clock.now)
    first = live.page()
    write_events(record, Tape(NAMES).events)
    assert live.page() == first
    assert not live.is_shown(live.state())
    clock.advance(2.0)
    second = live.page()
    assert second != first
    assert live.is_shown(live.state())
    clock.advance(2.0)
    assert live.page() is second, "nothing was written since"


def test_a_run_that_goes_on_is_no_error_and_one_that_was_left_is(tmp_path: Path) -> None:
    tape = Tape(NAMES)
    tape.test(NAMES[0], 1.0)
    record = tmp_path / "reports" / "run" / "events.ndjson"
    write_events(record, tape.events)
    folder = tmp_path / "reports"
    report = build_report(folder)
    assert report.state is State.ERROR
    now = time.time()
    going = as_it_goes(report, folder, now)
    assert (going.state, going.headline) == (State.PARTIAL, "Running (run): 1 of 3 tests done.")
    tape.test(NAMES[1], 2.0, Outcome.FAILED)
    write_events(record, tape.events)
    going = as_it_goes(build_report(folder), folder, now)
    assert (going.state, going.headline) == (State.FAILING, "Running (run): 2 of 3 tests done, 1 failed.")
    os.utime(record, (now - 300, now - 300))
    assert as_it_goes(report, folder, now) is report
    leave_all(folder)
    finished = build_report(folder)
    assert as_it_goes(finished, folder / "none", now).stages == finished.stages


class Scripted:
    """Stands for what is watched: one state per look."""

    def __init__(self, states: list[str]) -> None:
        self.states = states
        self.looks = 0

    def state(self) -> str:
        self.looks += 1
        return self.states[min(self.looks, len(self.states)) - 1]

    def is_due(self) -> bool:
        return self.looks != 3

    def is_shown(self, state: object) -> bool:
        return True


def test_the_page_is_told_of_each_change_that_is_due_and_of_the_end() -> None:
    script: Any = Scripted(["a", "b", "c", "c", "c"])

    async def told() -> list[str]:
        stream = changes(script, lambda: script.looks >= 6, look_s=0.001, beat_s=0.002)
        return [text async for text in stream]

    assert asyncio.run(told()) == [
        "retry: 2000\n\n",
        "event: report\ndata: 1\n\n",  # b
        "event: report\ndata: 2\n\n",  # c: not at the third look, when it is too soon
        ": still here\n\n",
        "event: end\ndata: 0\n\n",
    ]


class Client:
    """Asks an ASGI application, without a server."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, path: str, method: str = "GET") -> Any:
        import httpx

        async def answer() -> Any:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                return await client.request(method, path)

        return asyncio.run(answer())


@pytest.fixture
def ask(tmp_path: Path) -> Client:
    pytest.importorskip("starlette", reason="starlette is not installed: pip install 'drm-testing[dashboard]'")
    pytest.importorskip("httpx", reason="httpx is not installed: pip install 'drm-testing[ci]'")
    leave_all(tmp_path / "reports")
    return Client(application(watched(tmp_path, time.monotonic), "secret-token", is_ending=lambda: True))


def test_only_who_knows_the_token_sees_the_page(ask: Client) -> None:
    for path in ("/", "/events", "/?token=", "/?token=secret", "/events?token=%ff", "/?token=secret-token%00"):
        refused = ask(path)
        assert (refused.status_code, "drm dashboard" in refused.text) == (403, True), path
        assert "tests" not in refused.text
    shown = ask("/?token=secret-token")
    assert shown.status_code == 200
    assert "Passing: 20 of 20 tests passed" in shown.text
    assert (shown.headers["referrer-policy"], shown.headers["cache-control"]) == ("no-referrer", "no-store")
    told = ask("/events?token=secret-token")
    assert told.headers["content-type"].startswith("text/event-stream")
    assert told.text == "retry: 2000\n\nevent: end\ndata: 0\n\n"
    assert ask("/unit/events.ndjson?token=secret-token").status_code == 404
    assert ask("/?token=secret-token", "POST").status_code == 405


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "http"], "'http' is no port"),
        (["--port", "70000"], "'70000' is no port"),
        (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
        (["--reports-dir", "file"], "file: is no folder"),
        (["--port", "taken"], "choose another --host or --port"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_code_4(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'drm-testing[dashboard]'")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        try:
            code = main([port if argument == "taken" else argument for argument in arguments])
        except SystemExit as ended:
            code = int(str(ended.code))
    assert code == 4
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_without_its_extra_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([]) == 4
    assert capsys.readouterr().err == (
        "drm: starlette and uvicorn are not installed: there is no dashboard;"
        " python -m pip install 'drm-testing[dashboard]'\n"
    )
