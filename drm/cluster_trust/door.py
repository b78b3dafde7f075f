"""The door of a coordinator: a machine that wants to join shows certificate, token and facts, and is answered."""

from __future__ import annotations

import secrets
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from drm.cluster_trust.credentials import COORDINATOR, WORKER, Credentials
from drm.cluster_trust.handshake import Line, is_proof, proof
from drm.model.errors import ConfigError, DrmError

_PATIENCE_S = 10.0  # for one visitor, from the first byte to the last
_MOST_VISITORS = 32  # at the same time; further ones wait
STRANGER = "the coordinator has another token than this machine; copy the worker folder from the coordinator again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``refused``: a line for each reason not to let the visitor in; ``granted``: what one let in is told."""

    refused: tuple[str, ...] = ()
    granted: Mapping[str, Any] = field(default_factory=dict)


class Door:
    """Answers visitors in threads of its own until closed.

    ``answer`` is asked only of visitors that have shown a certificate of the authority and know the token; it may be
    called from several threads at once. ConfigError where the port cannot be had.
    """

    def __init__(
        self, host: str, port: int, credentials: Credentials, answer: Callable[[Mapping[str, Any]], Answer]
    ) -> None:
        self._context = credentials.context(server=True)
        self._token = credentials.token()
        self._answer = answer
        self._room = threading.Semaphore(_MOST_VISITORS)
        door = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with door._room, suppress(OSError, DrmError):  # a visitor that goes wrong is no matter of ours
                    door._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 128

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened on ({error.strerror})",
                remedy="another coordinator may run here: end it, or give another port",
            ) from None
        self.address: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="drm-door")
        self._thread.start()

    def _serve(self, sock: socket.socket) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        sock.settimeout(_PATIENCE_S)
        with self._context.wrap_socket(sock, server_side=True) as tls:
            line = Line(tls, deadline)
            nonce = secrets.token_hex(16)
            line.say({"nonce": nonce})
            said = line.hear()
            nonces = (nonce, str(said.get("nonce")))
            if not is_proof(said.get("proof"), self._token, WORKER, nonces):
                line.say({"refused": [STRANGER]})
                return
            facts = said.get("facts")
            answer = self._answer(facts if isinstance(facts, dict) else {})
            line.say(
                {
                    "proof": proof(self._token, COORDINATOR, nonces),
                    "refused": list(answer.refused),
                    "granted": {} if answer.refused else dict(answer.granted),
                }
            )
            with suppress(OSError, ssl.SSLError):
                tls.recv(1)  # until the visitor has read all and goes

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
