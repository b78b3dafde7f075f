"""The door of a coordinator: a machine that wants to join shows certificate, token and facts, and is answered."""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drm.cluster_trust.credentials import COORDINATOR, WORKER, Credentials
from drm.cluster_trust.handshake import Line, is_proof, proof
from drm.cluster_trust.reception import Reception

_PATIENCE_S = 10.0  # for one visitor that has shown its certificate
_MOST_VISITORS = 32  # of these at the same time; further ones wait
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
        self._token = credentials.token()
        self._answer = answer
        self._room = threading.Semaphore(_MOST_VISITORS)
        self._reception = Reception(
            host,
            port,
            credentials.context(server=True),
            self._receive,
            remedy="another coordinator may run here: end it, or give another port",
        )
        self.address = self._reception.address

    def _receive(self, tls: ssl.SSLSocket, known: Callable[[], None]) -> None:
        tls.do_handshake()
        known()  # it has a certificate of the authority
        with self._room:
            line = Line(tls, time.monotonic() + _PATIENCE_S)
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

    def close(self) -> None:
        self._reception.close()

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
