"""A token that is good once: for one worker, until a deadline, and for nobody else."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'drm-testing[cluster]'")

from drm.cluster_trust import load_credentials, make_trust
from drm.cluster_trust.enrolment import JOIN_TOKEN, Enrolment, enrol
from drm.model.errors import ConfigError, DrmError, LostError, UnauthorisedError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_trust(tmp_path_factory.mktemp("trust") / "cluster", coordinator=[], workers=["10.0.0.0/28"])


@pytest.fixture
def enrolment(folders: tuple[Path, Path], clock: Any) -> Iterator[Enrolment]:
    with Enrolment("127.0.0.1", 0, coordinator=folders[0], worker=folders[1], now=clock.now) as enrolment:
        yield enrolment


def ask(enrolment: Enrolment, token: str, folder: Path, *, worker: str = "w1", **changes: Any) -> Path:
    given = {"authority": enrolment.authority, "wait": lambda _: None, **changes}
    return enrol(*enrolment.address, worker_id=worker, token=token, folder=folder, **given)


def test_the_token_gives_the_credentials_once(enrolment: Enrolment, tmp_path: Path, clock: Any) -> None:
    token = enrolment.ticket("w1", valid_s=60.0)
    folder = ask(enrolment, token, tmp_path / "new")
    assert load_credentials(folder).folder == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
    clock.advance(30.0)
    with pytest.raises(UnauthorisedError, match="used already, or came too late") as caught:
        ask(enrolment, token, tmp_path / "again")
    assert token not in str(caught.value)
    assert not (tmp_path / "again").exists()


def test_who_has_lost_the_answer_may_ask_again_and_nobody_else(
    enrolment: Enrolment, tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = enrolment.ticket("w1", valid_s=60.0)
    ask(enrolment, token, tmp_path / "first")
    clock.advance(29.0)
    ask(enrolment, token, tmp_path / "again")
    enrolment.revoke("w1")
    with pytest.raises(UnauthorisedError, match="used already"):
        ask(enrolment, token, tmp_path / "over")
    token = enrolment.ticket("w1", valid_s=60.0)
    ask(enrolment, token, tmp_path / "anew")
    elsewhere = partial(socket.create_connection, source_address=("127.0.0.2", 0))
    monkeypatch.setattr(socket, "create_connection", elsewhere)
    with pytest.raises(UnauthorisedError, match="used already"):
        ask(enrolment, token, tmp_path / "stolen")


def test_a_wrong_token_closes_nothing(enrolment: Enrolment, tmp_path: Path) -> None:
    token = enrolment.ticket("w1", valid_s=60.0)
    for worker, wrong in (("w1", ""), ("w1", token[:-1]), ("w1", "ü"), ("w2", token), ("", token)):
        with pytest.raises(UnauthorisedError):
            ask(enrolment, wrong, tmp_path, worker=worker)
    ask(enrolment, token, tmp_path)


def test_a_token_is_void_after_its_time_a_new_one_or_a_revocation(
    enrolment: Enrolment, tmp_path: Path, clock: Any
) -> None:
    late = enrolment.ticket("w1", valid_s=60.0)
    clock.advance(60.0)
    replaced = enrolment.ticket("w2", valid_s=60.0)
    enrolment.ticket("w2", valid_s=60.0)
    revoked = enrolment.ticket("w3", valid_s=60.0)
    enrolment.revoke("w3")
    for worker, token in (("w1", late), ("w2", replaced), ("w3", revoked)):
        with pytest.raises(UnauthorisedError):
            ask(enrolment, token, tmp_path, worker=worker)


def test_another_coordinator_is_not_told_the_token(
    enrolment: Enrolment, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other, workers = make_trust(tmp_path_factory.mktemp("other") / "cluster", coordinator=[], workers=[])
    token = enrolment.ticket("w1", valid_s=60.0)
    with (
        Enrolment("127.0.0.1", 0, coordinator=other, worker=workers) as stranger,
        pytest.raises(UnauthorisedError, match="is not the coordinator of this run"),
    ):
        ask(stranger, token, tmp_path, authority=enrolment.authority)
    ask(enrolment, token, tmp_path)


def test_nobody_there_is_asked_again_for_a_while(enrolment: Enrolment, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    pauses: list[float] = []
    with pytest.raises(LostError, match="does not answer"):
        enrol(
            "127.0.0.1",
            port,
            authority=enrolment.authority,
            worker_id="w",
            token="t",
            folder=tmp_path,
            wait=pauses.append,
        )
    assert pauses == [1.0, 3.0, 9.0, 27.0]
    with pytest.raises(ConfigError, match="no certificate"):
        ask(enrolment, "t", tmp_path, authority="moon")


@pytest.mark.parametrize("sent", [b"", b"\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" * 50])
def test_strangers_are_no_matter(enrolment: Enrolment, tmp_path: Path, sent: bytes) -> None:
    with socket.create_connection(enrolment.address, timeout=10) as sock:
        sock.sendall(sent)
    ask(enrolment, enrolment.ticket("w1", valid_s=60.0), tmp_path)


def test_silent_visitors_keep_no_machine_out(enrolment: Enrolment, tmp_path: Path) -> None:
    with ExitStack() as silent:
        for _ in range(100):
            silent.enter_context(socket.create_connection(enrolment.address))
        began = time.monotonic()
        ask(enrolment, enrolment.ticket("w1", valid_s=60.0), tmp_path)
        assert time.monotonic() - began < 9, "until one of them had to go"


def test_a_port_that_is_taken_is_told(enrolment: Enrolment, folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="cannot be listened on"):
        Enrolment("127.0.0.1", enrolment.address[1], coordinator=folders[0], worker=folders[1])


def joining(enrolment: Enrolment, folder: Path, token: str) -> subprocess.CompletedProcess[str]:
    show = f"import os; print(os.environ['DRM_CLUSTER_FOLDER'], os.environ.get('{JOIN_TOKEN}'))"
    return subprocess.run(
        [
            *(sys.executable, "-m", "drm.cluster_trust.enrolment", "--at", f"127.0.0.1:{enrolment.address[1]}"),
            *("--authority", enrolment.authority, "--worker-id", "w1", "--folder", str(folder)),
            *("--", sys.executable, "-c", show),
        ],
        env={**os.environ, JOIN_TOKEN: token},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_becomes_the_worker_and_the_token_is_not_in_its_environment(
    enrolment: Enrolment, tmp_path: Path, clock: Any
) -> None:
    token = enrolment.ticket("w1", valid_s=600.0)
    done = joining(enrolment, tmp_path, token)
    clock.advance(30.0)
    assert done.stdout == f"drm: worker w1 has its credentials and joins\n{tmp_path} None\n", done.stderr
    load_credentials(tmp_path / "worker")
    again = joining(enrolment, tmp_path, token)
    assert again.returncode == 4
    assert again.stderr.startswith("drm: 127.0.0.1:")
    assert "gives no credentials" in again.stderr
    assert token not in done.stdout + done.stderr + again.stdout + again.stderr


def test_nothing_secret_is_in_what_it_shows_of_itself(enrolment: Enrolment) -> None:
    token = enrolment.ticket("w1", valid_s=60.0)
    assert token not in repr(vars(enrolment))
    assert issubclass(UnauthorisedError, DrmError)
