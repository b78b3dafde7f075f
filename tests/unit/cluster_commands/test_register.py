"""Who may join, who is there, who is to leave; and how that is shown."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drm.cluster_commands import coordinator, drain, worker, workers
from drm.cluster_commands.register import BEAT_S, FORGET_S, Register
from drm.cluster_commands.workers import table
from drm.cluster_trust import load_credentials
from drm.engines.ray_engine import state as state_module
from drm.engines.ray_engine.state import CoordinatorState, check_name, folder_of, parse_address, running_coordinators
from drm.engines.ray_engine.tables import Machine, WorkerRow, WorkerTable
from drm.joining import MachineFacts
from drm.model.errors import ConfigError
from drm.model.events import UtilizationSampled, WorkerReady
from drm.model.resources import Resources

HERE = MachineFacts(name="coordinator", python="3.12.1", ray="2.60.0", drm="1.0", at=1000.0, system="Linux-x86_64")
HAS = {"cpu_cores": 4, "memory_bytes": 2**33, "gpus": 0, "labels": ["ssd"], "address": "10.0.0.2"}


class Desk:
    """A register with a clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.leaving: set[str] = set()
        self.left: list[str] = []
        self.said: list[str] = []
        self.register = Register(
            lambda: HERE,
            must_leave=self.leaving.__contains__,
            left=self.left.append,
            now=lambda: self.now,
            say=self.said.append,
        )

    def ask(
        self, name: str, instance: str = "a", wants: str = "join", has: dict[str, Any] | None = None, **facts: Any
    ) -> Any:
        more = {**HAS, **(has or {}), "instance": instance, "wants": wants}
        return self.register.answer(replace(HERE, name=name, more=more, **facts).to_json())


def test_machines_join_and_are_listed_and_forgotten() -> None:
    desk = Desk()
    assert desk.ask("w1").granted == {"leave": False}
    desk.now = FORGET_S - 1
    desk.ask("w2")
    assert [machine.name for machine in desk.register.machines()] == ["w1", "w2"]
    desk.now = FORGET_S + 1
    assert [machine.name for machine in desk.register.machines()] == ["w2"]
    assert desk.left == ["w1"]
    desk.ask("w2", wants="leave")
    assert desk.register.machines() == []


def test_a_second_machine_of_the_same_name_is_refused_and_the_first_stays() -> None:
    desk = Desk()
    desk.ask("w1", "a")
    elsewhere = {"address": "10.0.0.3"}
    assert "a worker called 'w1' has joined already" in desk.ask("w1", "b", has=elsewhere).refused[0]
    assert desk.ask("w1", "a").granted
    desk.ask("w1", "b", wants="leave")
    assert len(desk.register.machines()) == 1, "only who has the name can give it up"


def test_a_machine_that_ended_without_a_word_waits_until_it_is_forgotten() -> None:
    desk = Desk()
    desk.ask("w1", "a")
    desk.now = FORGET_S - 1
    assert desk.ask("w1", "b", has={"waited_s": 1.0}).granted == {"wait": True}
    desk.now = FORGET_S + 1
    assert desk.ask("w1", "b", has={"waited_s": 3.0}).granted == {"leave": False}
    assert desk.left == ["w1"]


def test_two_machines_of_one_name_and_address_are_two_where_both_go_on() -> None:
    desk = Desk()
    desk.ask("w1", "a")
    refused = desk.ask("w1", "b", has={"waited_s": FORGET_S + BEAT_S + 1}).refused
    assert "a worker called 'w1' has joined already" in refused[0]
    assert desk.ask("w1", "b", has={"waited_s": "long"}).refused, "it is no number"


def test_what_does_not_fit_is_said_at_once_and_not_waited_for() -> None:
    desk = Desk()
    desk.ask("w1", "a")
    (line,) = desk.ask("w1", "b", python="3.12.2").refused
    assert "Python 3.12.2" in line


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"python": "3.12.2"}, "w1 has Python 3.12.2, the coordinator 3.12.1; run drm worker with Python 3.12.1"),
        ({"ray": "2.60.1"}, "w1 has Ray 2.60.1, the coordinator 2.60.0; pip install 'ray==2.60.0'"),
    ],
)
def test_other_versions_are_refused_with_the_remedy(facts: dict[str, Any], line: str) -> None:
    assert Desk().ask("w1", **facts).refused == (line,)


def test_a_clock_that_is_an_hour_off_is_said_and_does_not_matter() -> None:
    desk = Desk()
    assert not desk.ask("w1", at=1000.0 + 3600).refused
    assert any("the clock of w1 is 60 min fast" in line for line in desk.said)


def test_a_machine_is_told_to_leave() -> None:
    desk = Desk()
    desk.ask("w1")
    desk.leaving.add("w1")
    assert desk.ask("w1").granted == {"leave": True}


VAST = {**HERE.to_json(), "more": {**HAS, "instance": "a", "memory_bytes": float("inf")}}


@pytest.mark.parametrize(
    "said", [{}, {"name": "w1"}, {**HERE.to_json(), "name": "a/b"}, {**VAST, "name": "../worker"}, VAST, HERE.to_json()]
)
def test_nonsense_is_refused(said: dict[str, Any]) -> None:
    assert Desk().register.answer(said).refused


def test_what_a_machine_says_of_itself_commands_no_terminal() -> None:
    desk = Desk()
    desk.register.answer(
        {**HERE.to_json(), "more": {**HAS, "instance": "a", "address": "\x1b[2J", "labels": ["a\n\x1b]0;x\x07"]}}
    )
    (machine,) = desk.register.machines()
    assert machine.address.isprintable()
    assert all(label.isprintable() for label in machine.labels)


def test_a_link_that_somebody_put_in_the_way_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with worker._free_ports("127.0.0.1", None) as ports:
        first = ports.first
    (tmp_path / f"drm-{os.getuid()}-ports-127.0.0.1-{first}.lock").symlink_to(tmp_path / "target")
    with worker._free_ports("127.0.0.1", None) as ports:
        assert ports.first > first
    assert not (tmp_path / "target").exists()


def test_the_table() -> None:
    machines = [
        Machine(name="w1", address="10.0.0.2", cpu_cores=4, memory_bytes=2**33, labels=("ssd",), heard_at=99.0),
        Machine(name="w2", address="10.0.0.3", cpu_cores=2, memory_bytes=2**32, gpus=0.5, heard_at=91.0),
    ]
    rows = {"w1": WorkerRow(name="w1", reserved_cores=3, reserved_bytes=2**30, used_cores=2.5, executors=4, running=3)}
    assert table(machines, rows, 100.0, frozenset({"w2"})) == [
        "worker  address   cores  memory   gpus  labels  reserved          used                tests  heard",
        "w1      10.0.0.2  4      8.0 GiB  0     ssd     3 cores, 1.0 GiB  2.5 cores, 0.0 GiB  3/4    1 s ago",
        "w2      10.0.0.3  2      4.0 GiB  0.5   -       -                 -                   -      9 s ago, leaving",
    ]
    assert table([], {}, 100.0) == ["no machine has joined"]


# -- the folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRM_CLUSTER_FOLDER", str(tmp_path / "cluster"))
    return tmp_path / "cluster"


@pytest.fixture
def state(home: Path) -> Iterator[CoordinatorState]:
    with CoordinatorState.living("10.0.0.1", 7410) as state:
        yield state


def test_a_coordinator_is_found_on_its_host_only_while_it_lives(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"no coordinator .* run this on the host of 10.0.0.1"):
        CoordinatorState.of("10.0.0.1:7410")
    with CoordinatorState.living("10.0.0.1", 7410) as state:
        assert CoordinatorState.of("10.0.0.1:7410").address == "10.0.0.1:7410"
        assert CoordinatorState.of("localhost:7410").address == "10.0.0.1:7410"
        with pytest.raises(ConfigError, match=r"is at 10\.0\.0\.1:7410, not at 10\.9\.9\.9:7410"):
            CoordinatorState.of("10.9.9.9:7410")
    assert not state.is_alive()
    assert list(home.iterdir()) == [], "nothing is left"


def test_two_coordinators_at_one_port_of_two_addresses_are_two(state: CoordinatorState) -> None:
    state.claim()
    with CoordinatorState.living("127.0.0.1", 7410) as other:
        assert CoordinatorState.of("10.0.0.1:7410").folder == state.folder
        assert CoordinatorState.of("localhost:7410").folder == other.folder
        assert not other.has_run()
    assert state.is_alive()
    assert state.has_run()
    assert CoordinatorState.of("10.0.0.1:7410").folder == state.folder
    state.give_up()


def test_a_second_coordinator_at_an_address_is_refused_and_the_first_stays(state: CoordinatorState) -> None:
    state.claim()
    state.ask_to_leave("w1")
    with (
        pytest.raises(ConfigError, match=r"is at 10\.0\.0\.1:7410 already; end it, or give another --port"),
        CoordinatorState.living("10.0.0.1", 7410),
    ):
        pass
    assert state.is_alive()
    assert state.has_run()
    assert state.draining() == {"w1"}
    state.give_up()


def test_what_a_coordinator_left_that_was_killed_is_no_matter(home: Path) -> None:
    folder = folder_of("10.0.0.1", 7410)
    (folder / "drain").mkdir(parents=True)
    (folder / "drain" / "w1").touch()
    (folder / "alive").touch()
    with CoordinatorState.living("10.0.0.1", 7410) as state:
        assert state.draining() == frozenset()
        assert state.is_alive()


def test_a_coordinator_on_another_host_that_shares_the_home_is_not_taken_for_one_here(
    state: CoordinatorState, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A lock is seen from all hosts that share a folder."""
    (tmp_path / "boot_id").write_text("of another host\n")
    monkeypatch.setattr(state_module, "_BOOT", tmp_path / "boot_id")
    with pytest.raises(ConfigError, match=r"no coordinator .* run this on the host of 10.0.0.1"):
        CoordinatorState.of("10.0.0.1:7410")
    assert running_coordinators() == []


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ends takes the file away between the moment when it is opened and the moment when it is locked."""
    path, flock, removals = home / "alive", fcntl.flock, [1]

    def remove_first(file: Any, how: int) -> None:
        if removals:
            removals.pop()
            path.unlink()
            home.rmdir()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    file = state_module._lock(path)
    assert file is not None
    with file:
        assert state_module._is_locked(path)


def test_one_run_at_a_time(state: CoordinatorState) -> None:
    second = CoordinatorState.of(state.address)
    state.claim()
    assert second.has_run()
    with pytest.raises(ConfigError, match="another run uses the coordinator"):
        second.claim()
    state.give_up()
    second.claim()
    second.give_up()


def test_who_looks_at_a_lock_keeps_no_run_out(state: CoordinatorState, monkeypatch: pytest.MonkeyPatch) -> None:
    (state.folder / "run").touch()
    with open(state.folder / "run", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as drm workers does for a moment, when it looks whether there is a run
        monkeypatch.setattr(time, "sleep", lambda _: file.close())
        state.claim()
    assert state.has_run()
    state.give_up()


def test_who_has_no_file_descriptors_left_takes_no_coordinator_for_gone(
    state: CoordinatorState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("builtins.open", no_more)
    assert state.is_alive()


def test_what_a_run_says_of_its_workers(state: CoordinatorState, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"w1"}
    table = WorkerTable(state.folder, lambda: held)
    at = {"at": "2026-01-01T00:00:00.000Z", "elapsed_s": 1.0}
    table.emit(WorkerReady(seq=1, worker_id="w1", worker_type="w1", capacity=Resources(cpu_cores=2), **at))
    used = Resources(cpu_cores=1.5, memory_bytes=7)
    table.emit(
        UtilizationSampled(
            seq=2, worker_id="w1", reserved=Resources(cpu_cores=2), used=used, executors=2, running=1, **at
        )
    )
    table.flush()
    assert state.rows() == {}, "no run is connected that could have said it"
    state.claim()
    assert state.rows() == {
        "w1": WorkerRow(name="w1", reserved_cores=2, used_cores=1.5, used_bytes=7, executors=2, running=1)
    }
    (state.folder / "workers.json").write_text("{")
    assert state.rows() == {}
    monkeypatch.setattr("drm.engines.ray_engine.tables._WRITE_S", 0.0)
    table.flush()
    assert state.rows() == {}, "what stays as it was is not written again"
    held.clear()
    table.flush()
    assert (state.folder / "workers.json").read_text() == "[]\n"
    state.give_up()
    table.close()
    assert not (state.folder / "workers.json").exists()


def test_machines_are_written_and_read(state: CoordinatorState) -> None:
    machine = Machine(name="w1", address="10.0.0.2", cpu_cores=4, memory_bytes=5, labels=("ssd",), heard_at=3.0)
    state.note_machines([machine])
    assert state.machines() == [machine]
    assert (state.folder / "machines.json").stat().st_mode & 0o077 == 0
    assert json.loads((state.folder / "machines.json").read_text())[0]["name"] == "w1"


# -- the commands


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        (coordinator.main, ["--bind", "0.0.0.0"], "give the one under which workers reach this host"),
        (coordinator.main, ["--bind", "here"], "--bind: 'here' is no address"),
        (coordinator.main, ["--port", "80"], "--port: 80 does not begin 30 ports"),
        (worker.main, ["--coordinator", "there"], "'there' is no address; write HOST:PORT"),
        (worker.main, ["--coordinator", "h:1", "--cpus", "0"], "--cpus: 0 is not a number of cores"),
        (worker.main, ["--coordinator", "h:1", "--memory", "much"], "--memory"),
        (worker.main, ["--coordinator", "h:1", "--name", "a b"], "'a b' is no name of a worker"),
        (workers.main, [], "no coordinator of this user runs on this host; start one with drm coordinator"),
        (drain.main, ["w1"], "no coordinator of this user runs on this host"),
    ],
)
def test_bad_input_is_one_line(
    command: Any,
    arguments: list[str],
    line: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in (coordinator, worker):
        monkeypatch.setattr(module, "ray_version", lambda: "2.60.0")
    assert command(arguments) == 4
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_credentials_are_not_replaced_while_a_coordinator_runs(
    home: Path, state: CoordinatorState, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else runs, which read the new ones, and the coordinator, which has the old ones, would not meet."""
    assert coordinator.main(["--init", "--replace"]) == 4
    assert capsys.readouterr().err == (
        f"drm: the coordinator at {state.address} runs with the credentials that are there; "
        "end it, then make new ones; its workers need the new folder\n"
    )
    assert not (home / "coordinator").exists()


def test_credentials_that_are_replaced_are_never_there_in_part(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'drm-testing[cluster]'")
    left = sys.maxsize  # so many files are renamed or removed before the command is ended

    def ending(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*words: Any, **more: Any) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            change(*words, **more)

        return changed

    for name in ("rename", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, ending(getattr(os, name)))
    assert coordinator.main(["--init"]) == 0
    for changes in range(10):
        left = changes
        with pytest.raises(KeyboardInterrupt):
            coordinator.main(["--init", "--replace"])
        assert {len(list((home / role).iterdir())) for role in ("coordinator", "worker") if (home / role).exists()} == {
            4
        }
        left = sys.maxsize
        assert coordinator.main(["--init", "--replace"]) == 0
    load_credentials(home / "coordinator")
    load_credentials(home / "worker")
    assert (home / "coordinator" / "ca.pem").read_bytes() == (home / "worker" / "ca.pem").read_bytes()


def test_ray_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise coordinator.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(coordinator.metadata, "version", missing)
    with pytest.raises(ConfigError, match=r"Ray is not installed; python -m pip install 'drm-testing\[ray\]'"):
        coordinator.ray_version()


@pytest.mark.parametrize("text", ["h", "h:", ":1", "h:0", "h:65536", "h:1:2", "a b:1"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)


def test_names_that_labels_can_hold() -> None:
    assert check_name("ci-7.example_x", "--name") == "ci-7.example_x"
    for name in ("", "-a", "a/b", "a" * 63, "é"):
        with pytest.raises(ConfigError):
            check_name(name, "--name")
