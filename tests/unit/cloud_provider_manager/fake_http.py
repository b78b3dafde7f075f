"""A server of ours on a free port of this machine, in a thread: what the fakes of vendors' APIs stand on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Json = dict[str, Any]


class HangUpError(Exception):
    """Close the connection without an answer."""


@dataclass(frozen=True)
class Asked:
    """One request. ``body`` is its JSON, an empty object where there is none."""

    method: str
    path: str
    query: dict[str, str]
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """``content``: JSON, text, or what yields lines one by one, as a watch does."""

    status: int
    content: Any
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[str]:
    """Serve until the block ends; yield the URL. Requests are answered one at a time, but for watches."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            where = urlsplit(self.path)
            read = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                body = json.loads(read or b"{}")
            except ValueError:
                body = {}
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, where.path, dict(parse_qsl(where.query)), body, headers)
            try:
                given = answer(asked)
            except HangUpError:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(given)

        def _send(self, given: Answer) -> None:
            streamed = not isinstance(given.content, str | dict | list)
            content = given.content if isinstance(given.content, str) else json.dumps(given.content, default=str)
            self.send_response(given.status)
            kind = "text/plain" if isinstance(given.content, str) else "application/json"
            for name, value in {"Content-Type": kind, **given.headers}.items():
                self.send_header(name, value)
            if streamed:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            try:
                if not streamed:
                    self.wfile.write(content.encode())
                else:
                    for line in given.content:
                        self._chunk(json.dumps(line) + "\n")
                    self._chunk("")
            except OSError:  # who watched has seen enough
                self.close_connection = True

        def _chunk(self, text: str) -> None:
            self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
            self.wfile.flush()

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
