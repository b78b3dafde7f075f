"""Listening for visitors that may be anybody: each has a thread of its own, and none keeps another one out."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from drm.model.errors import ConfigError, DrmError

PATIENCE_S = 5.0  # for a visitor to be known: as long as one waits itself
_MOST_STRANGERS = 256  # at the same time


class Reception:
    """Gives each visitor to ``receive``, with a function that says that it is known now; until closed.

    The handshake of TLS is still to be made then, within ``PATIENCE_S``. What goes wrong with a visitor ends its visit
    and is said nowhere: it could be anybody. Where there are too many that are not known yet, the one that came first
    of the address that has most of them is sent away: it is silent, or slower than all others.

    ``remedy``: what to do where the port cannot be had (ConfigError).
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        receive: Callable[[ssl.SSLSocket, Callable[[], None]], None],
        *,
        remedy: str,
    ) -> None:
        self._receive = receive
        self._strangers: dict[ssl.SSLSocket, str] = {}  # with their addresses, in the order in which they came
        self._lock = threading.Lock()
        reception = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                reception._visited(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 128

            def get_request(self) -> tuple[ssl.SSLSocket, tuple[str, int]]:
                sock, address = super().get_request()
                sock.settimeout(PATIENCE_S)
                tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                reception._came(tls, address[0])
                return tls, address

            def shutdown_request(self, request: ssl.SSLSocket) -> None:  # type: ignore[override]
                reception._known(request)  # before it is closed, and its number another one's
                super().shutdown_request(request)

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise ConfigError(f"{host}:{port} cannot be listened on ({error.strerror})", remedy=remedy) from None
        self.address: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="drm-door")
        self._thread.start()

    def _came(self, visitor: ssl.SSLSocket, address: str) -> None:
        with self._lock:
            self._strangers[visitor] = address
            if len(self._strangers) > _MOST_STRANGERS:
                ((most, _),) = Counter(self._strangers.values()).most_common(1)
                first = next(each for each, whose in self._strangers.items() if whose == most)
                del self._strangers[first]
                with suppress(OSError):  # its thread sees that; the method of TLS would let it go on without
                    socket.socket.shutdown(first, socket.SHUT_RDWR)

    def _known(self, visitor: ssl.SSLSocket) -> None:
        with self._lock:
            self._strangers.pop(visitor, None)

    def _visited(self, visitor: ssl.SSLSocket) -> None:
        with suppress(OSError, DrmError):
            self._receive(visitor, lambda: self._known(visitor))
            visitor.recv(1)  # until the visitor has read all and goes

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
