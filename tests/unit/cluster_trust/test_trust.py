"""Credentials and the door: what fits is let in, everything else is refused with one line, and soon."""

from __future__ import annotations

import socket
import socketserver
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'drm-testing[cluster]'")

from drm.cluster_trust import (
    Answer,
    Credentials,
    Door,
    default_folder,
    environment,
    knock,
    load_credentials,
    make_trust,
    probe_port,
    reception,
)
from drm.model.errors import ConfigError, DrmError, LostError, UnauthorisedError

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("other"))


def made(folder: Path, **changes: Any) -> Path:
    make_trust(folder / "cluster", coordinator=["head.example"], workers=["10.0.0.0/24"], **changes)
    return folder / "cluster"


def copy(folder: Path, to: Path, **files: Path) -> Path:
    """Copy credentials with their modes; ``files``: some by those of another folder."""
    to.mkdir(mode=0o700)
    for file in folder.iterdir():
        source = files.get(file.stem, folder) / file.name
        (to / file.name).write_bytes(source.read_bytes())
        (to / file.name).chmod(0o600)
    return to


@pytest.fixture
def door(trust: Path) -> Iterator[Door]:
    def answer(facts: Any) -> Answer:
        if facts.get("name") == "bad":
            return Answer(refused=("the name bad is taken; give another (--name)",), granted={"secret": 1})
        return Answer(granted={"hello": facts.get("name")})

    with Door("127.0.0.1", 0, load_credentials(trust / "coordinator"), answer) as opened:
        yield opened


def refusal(call: Callable[[], Any], kind: type[DrmError]) -> str:
    started = time.monotonic()
    with pytest.raises(kind) as raised:
        call()
    assert time.monotonic() - started < 20
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_machine_with_certificate_and_token_is_let_in(trust: Path, door: Door) -> None:
    assert knock(*door.address, load_credentials(trust / "worker"), {"name": "w1"}) == {"hello": "w1"}


def test_files_are_private_and_secrets_are_in_no_text(trust: Path) -> None:
    for path in trust.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    credentials = load_credentials(trust / "worker")
    token = credentials.token().decode()
    assert len(token) > 40
    assert token not in repr(credentials) + str(environment(trust / "worker"))
    assert not list(trust.rglob("*ca-key*")), "the key of the authority is kept by nobody"
    assert environment(trust / "nowhere") == {}
    assert environment(trust / "worker")["RAY_AUTH_TOKEN_PATH"] == str(trust / "worker" / "token")
    assert default_folder({"DRM_CLUSTER_FOLDER": "/x"}) == Path("/x")


def test_another_certificate_is_refused(trust: Path, other: Path, door: Door) -> None:
    told = refusal(lambda: knock(*door.address, load_credentials(other / "worker"), {}), UnauthorisedError)
    assert "another authority" in told
    assert "copy the worker folder" in told


def test_a_certificate_that_only_knows_the_authority_is_refused(
    trust: Path, other: Path, door: Door, tmp_path: Path
) -> None:
    stranger = copy(other / "worker", tmp_path / "stranger", ca=trust / "worker")
    told = refusal(lambda: knock(*door.address, Credentials(stranger, NOW), {}), UnauthorisedError)
    assert "refuses the certificate" in told
    assert "another authority" in refusal(lambda: load_credentials(stranger), UnauthorisedError)


def test_another_token_is_refused_and_asks_nothing(trust: Path, other: Path, door: Door, tmp_path: Path) -> None:
    mixed = load_credentials(copy(trust / "worker", tmp_path / "mixed", token=other / "worker"))
    told = refusal(lambda: knock(*door.address, mixed, {"name": "w1"}), UnauthorisedError)
    assert "another token" in told
    assert mixed.token().decode() not in told


def test_reasons_of_the_coordinator_are_told(trust: Path, door: Door) -> None:
    told = refusal(lambda: knock(*door.address, load_credentials(trust / "worker"), {"name": "bad"}), ConfigError)
    assert told == "the name bad is taken; give another (--name)"


def test_a_certificate_of_a_worker_is_no_coordinators(trust: Path) -> None:
    worker = load_credentials(trust / "worker")
    with Door("127.0.0.1", 0, worker, lambda facts: Answer()) as impostor:
        assert "no coordinator's" in refusal(lambda: knock(*impostor.address, worker, {}), UnauthorisedError)


def test_silence_another_protocol_and_nobody_are_told_apart(trust: Path) -> None:
    worker = load_credentials(trust / "worker")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = silent.getsockname()
        told = refusal(lambda: knock(*address, worker, {}, timeout_s=0.2), LostError)
        assert f"{address[0]}:{address[1]} did not answer within 0.2 s" in told
    assert "cannot be reached" in refusal(lambda: knock(*address, worker, {}), LostError)

    class Web(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(100)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Web) as web:
        threading.Thread(target=web.handle_request).start()
        host, port = "127.0.0.1", web.server_address[1]
        assert "does not speak TLS" in refusal(lambda: knock(host, port, worker, {}), LostError)


def test_a_port_in_use_is_told(trust: Path, door: Door) -> None:
    coordinator = load_credentials(trust / "coordinator")
    told = refusal(lambda: Door(*door.address, coordinator, lambda facts: Answer()), ConfigError)
    assert "cannot be listened on" in told
    assert "another port" in told


def test_an_address_that_the_certificate_lacks_is_told(trust: Path) -> None:
    with Door("127.0.0.77", 0, load_credentials(trust / "coordinator"), lambda facts: Answer()) as opened:
        told = refusal(lambda: knock(*opened.address, load_credentials(trust / "worker"), {}), UnauthorisedError)
        assert "not made for 127.0.0.77" in told
        assert "--host 127.0.0.77" in told


def test_a_port_of_ray_is_probed(trust: Path, other: Path, door: Door) -> None:
    probe_port(*door.address, load_credentials(trust / "worker"))  # the door speaks first too
    refusal(lambda: probe_port(*door.address, load_credentials(other / "worker")), UnauthorisedError)


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_silent_visitors_keep_nobody_out(trust: Path, door: Door, source: str) -> None:
    worker = load_credentials(trust / "worker")
    with ExitStack() as silent:
        for _ in range(100):
            silent.enter_context(socket.create_connection(door.address, source_address=(source, 0)))
        with ThreadPoolExecutor(30) as pool:
            names = [f"w{number}" for number in range(30)]
            granted = pool.map(lambda name: knock(*door.address, worker, {"name": name}), names)
            assert [each["hello"] for each in granted] == names


def test_of_too_many_silent_visitors_one_of_the_address_of_most_gives_way(
    trust: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "_MOST_STRANGERS", 8)
    monkeypatch.setattr(reception, "PATIENCE_S", 60.0)
    with ExitStack() as visitors:
        connect = lambda host: visitors.enter_context(socket.create_connection(door.address, 30, (host, 0)))  # noqa: E731
        first, *others = [connect(host) for host in ("127.0.0.3", *["127.0.0.2"] * 7)]
        knock(*door.address, load_credentials(trust / "worker"), {"name": "w1"})
        assert others[0].recv(1) == b"", "who came first of these"
        connect("127.0.0.2")
        connect("127.0.0.2")
        assert others[1].recv(1) == b""
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(1)


def test_a_certificate_holds_a_year_and_says_when_it_ends(tmp_path: Path) -> None:
    folder = made(tmp_path, now=NOW)
    credentials = load_credentials(folder / "worker", NOW)
    assert timedelta(days=364) < credentials.expires - NOW <= timedelta(days=365)
    assert credentials.warning(NOW) == ""
    assert "expires on" in credentials.warning(NOW + timedelta(days=360))
    load_credentials(folder / "worker", NOW - timedelta(hours=2))  # a clock that is slow
    told = refusal(lambda: load_credentials(folder / "worker", NOW + timedelta(days=400)), UnauthorisedError)
    assert "--replace" in told


def test_an_expired_certificate_is_refused_by_the_door(tmp_path: Path) -> None:
    folder = made(tmp_path, days=1, now=NOW - timedelta(days=3))
    old = Credentials(folder / "worker", NOW)
    with Door("127.0.0.1", 0, Credentials(folder / "coordinator", NOW), lambda facts: Answer()) as opened:
        assert "expired" in refusal(lambda: knock(*opened.address, old, {}), UnauthorisedError)


def test_credentials_are_replaced_only_when_asked(tmp_path: Path) -> None:
    folder = made(tmp_path)
    before = (folder / "worker" / "token").read_bytes()
    assert "--replace" in refusal(lambda: made(tmp_path), ConfigError)
    assert (folder / "worker" / "token").read_bytes() == before
    made(tmp_path, replace=True)
    assert (folder / "worker" / "token").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["cluster"]


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem", "token"])
def test_a_part_that_is_missing_empty_or_open_is_told(trust: Path, tmp_path: Path, name: str) -> None:
    folder = copy(trust / "worker", tmp_path / "w")
    if name in ("key.pem", "token"):
        (folder / name).chmod(0o644)
        assert f"chmod 600 {folder / name}" in refusal(lambda: load_credentials(folder), ConfigError)
    (folder / name).write_bytes(b"")
    assert "is empty" in refusal(lambda: load_credentials(folder), ConfigError)
    (folder / name).unlink()
    assert "drm coordinator --init" in refusal(lambda: load_credentials(folder), ConfigError)


def test_a_key_of_another_certificate_is_told(trust: Path, tmp_path: Path) -> None:
    folder = copy(trust / "worker", tmp_path / "w", key=trust / "coordinator")
    assert "is not the key of" in refusal(lambda: load_credentials(folder), UnauthorisedError)


@pytest.mark.parametrize("name", ["10.0.0.0/8", "a b", "10.0.0.300", "", "-x/"])
def test_a_name_that_is_none_is_told(tmp_path: Path, name: str) -> None:
    call = lambda: make_trust(tmp_path / "c", coordinator=[name], workers=[])  # noqa: E731
    assert refusal(call, ConfigError)
    assert not (tmp_path / "c").exists()
