"""Giving a machine that was bought for one run its credentials, in exchange for a token that is good once.

worker -> {"worker": NAME, "token": T}
we     -> {"files": {...}} or {"refused": line}

over TLS 1.3, in which the coordinator shows a certificate of the authority that the machine was told of. The token is
in what the machine boots with. It is no secret for long: it is one worker's, works once and until that worker's
deadline to join, and only its hash is kept here. As an answer may be lost, the address that has used it may ask again,
for 30 s. One that is stolen in that time keeps the real worker out, which is seen: its machine does not join, and is
ended.

``python -m drm.cluster_trust.enrolment --at HOST:PORT --authority BASE64 --worker-id ID -- COMMAND...`` is the side of
the machine: it takes the token from the environment and away from it, fetches the credentials, becomes the command.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import os
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drm.cluster_trust.credentials import CA, CERTIFICATE, FILES, KEY, WORKER
from drm.cluster_trust.handshake import Line
from drm.cluster_trust.reception import PATIENCE_S, Reception
from drm.model.errors import ConfigError, DrmError, LostError, UnauthorisedError

__all__ = ["JOIN_TOKEN", "Enrolment", "enrol"]

JOIN_TOKEN = "DRM_JOIN_TOKEN"  # noqa: S105 - the name of the variable
_PATIENCE_S = 10.0
_AGAIN_S = 30.0
_ASKED_AGAIN_AFTER_S = (1.0, 3.0, 9.0, 27.0)
_REFUSED = "this token is not known, was used already, or came too late"


@dataclass(slots=True)
class _Ticket:
    """A token that is open. ``peer``: who has used it, and may ask again."""

    hash: bytes
    until_s: float
    peer: str | None = None


class Enrolment:
    """Gives the worker folder's files to whoever shows a token that is open; in threads of its own, until closed.

    ``coordinator``, ``worker``: the two folders of ``make_trust``. ``now``: time in seconds. ConfigError where the port
    cannot be had.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        coordinator: Path,
        worker: Path,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(coordinator / CERTIFICATE, coordinator / KEY)
        self._files = {name: (worker / name).read_text(encoding="ascii") for name in FILES}
        self._now = now
        self._open: dict[str, _Ticket] = {}  # by worker
        self._lock = threading.Lock()
        self.authority = base64.b64encode((coordinator / CA).read_bytes()).decode("ascii")
        self._reception = Reception(host, port, context, self._receive, remedy="give another port")
        self.address = self._reception.address

    def ticket(self, worker_id: str, *, valid_s: float) -> str:
        """Return a new token for this worker, good once and for so long; one that it had before is void."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._open[worker_id] = _Ticket(_hash(token), self._now() + valid_s)
        return token

    def revoke(self, worker_id: str) -> None:
        """Make the worker's token void, if it has one."""
        with self._lock:
            self._open.pop(worker_id, None)

    def close(self) -> None:
        self._reception.close()

    def __enter__(self) -> Enrolment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, tls: ssl.SSLSocket, _known: Callable[[], None]) -> None:
        tls.do_handshake()
        line = Line(tls, time.monotonic() + PATIENCE_S)
        said = line.hear()
        if self._redeem(said.get("worker"), said.get("token"), tls.getpeername()[0]):
            line.say({"files": self._files})
        else:
            line.say({"refused": _REFUSED})

    def _redeem(self, worker_id: object, token: object, peer: str) -> bool:
        """Tell whether the token is open, and leave it open to this peer alone, for a while: the answer may be lost.

        A wrong one closes nothing: it could be anybody's.
        """
        if not isinstance(worker_id, str) or not isinstance(token, str):
            return False
        with self._lock:
            ticket = self._open.get(worker_id)
            if ticket is None or not hmac.compare_digest(ticket.hash, _hash(token)):
                return False
            if ticket.peer is None:
                ticket.peer, ticket.until_s = peer, min(ticket.until_s, self._now() + _AGAIN_S)
            return ticket.peer == peer and self._now() < ticket.until_s


def enrol(
    host: str,
    port: int,
    *,
    authority: str,
    worker_id: str,
    token: str,
    folder: Path,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch the credentials of workers into ``folder / "worker"`` and return that; a folder of mode 0700.

    Where nobody answers it is asked again after 1, 3, 9 and 27 s: a network may not be up yet. UnauthorisedError: the
    token is refused, or the other side is not the coordinator of that authority. LostError: nobody is there.
    """
    try:
        pem = base64.b64decode(authority, validate=True).decode("ascii")
        context = ssl.create_default_context(cadata=pem)
    except (ValueError, ssl.SSLError):
        raise ConfigError("the authority is no certificate", remedy="take the command as it was given") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for pause_s in (*_ASKED_AGAIN_AFTER_S, None):
        try:
            files = _asked(context, host, port, {"worker": worker_id, "token": token})
            break
        except LostError:
            if pause_s is None:
                raise
            wait(pause_s)
    return _kept(files, folder / WORKER)


def _asked(context: ssl.SSLContext, host: str, port: int, message: Mapping[str, Any]) -> dict[str, Any]:
    where = f"{host}:{port}"
    try:
        with (
            socket.create_connection((host, port), timeout=_PATIENCE_S) as sock,
            context.wrap_socket(sock, server_hostname=host) as tls,
        ):
            line = Line(tls, time.monotonic() + _PATIENCE_S)
            line.say(message)
            said = line.hear()
    except ssl.SSLCertVerificationError as error:
        raise UnauthorisedError(f"{where} is not the coordinator of this run ({error.verify_message})") from None
    except OSError as error:
        raise LostError(f"{where} does not answer ({error})", remedy="is there a firewall between?") from None
    if not isinstance(said.get("files"), dict):
        raise UnauthorisedError(f"{where} gives no credentials: {_REFUSED}")
    return dict(said["files"])


def _kept(files: Mapping[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    for name in FILES:
        path = folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(str(files.get(name, "")))
    return folder


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the credentials, then become the command; exit code 4 with one line where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m drm.cluster_trust.enrolment")
    parser.add_argument("--at", required=True, metavar="HOST:PORT")
    parser.add_argument("--authority", required=True, metavar="BASE64")
    parser.add_argument("--worker-id", required=True)
    parser.add_argument("--folder", type=Path, default=Path("/run/drm-cluster"))
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    host, _, port = options.at.rpartition(":")
    token = os.environ.pop(JOIN_TOKEN, "")
    try:
        enrol(
            host.strip("[]"),
            int(port) if port.isdecimal() else 0,
            authority=options.authority,
            worker_id=options.worker_id,
            token=token,
            folder=options.folder,
        )
    except (DrmError, OSError) as error:
        print(f"drm: {error}", file=sys.stderr)
        raise SystemExit(4) from None
    os.environ["DRM_CLUSTER_FOLDER"] = str(options.folder)
    print(f"drm: worker {options.worker_id} has its credentials and joins", flush=True)
    os.execvp(options.command[0], options.command)  # noqa: S606 - the command that it was given


if __name__ == "__main__":
    main()
