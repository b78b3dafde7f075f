"""``drm dashboard``: serves the report as a page while a run goes on, and tells the page when there is more to see.

Server-sent events (WHATWG HTML, 9.2) over uvicorn and starlette. Only who knows the token sees anything; by default
only this machine can ask.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import ipaddress
import secrets
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from drm.command_line import USAGE_ERROR, Parser
from drm.model.errors import ConfigError, DrmError
from drm.report_commands.past import HISTORY
from drm.report_commands.watching import Watched
from drm.reporting.text import one_line

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["application", "main"]

_LOOK_S = 0.5
_AGAIN_S = 3.0
_BEAT_S = 15.0
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


def main(arguments: Sequence[str]) -> int:
    """Run ``drm dashboard ARGUMENTS`` until Ctrl-C; return the exit code: 0, or 4 for what cannot be served."""
    options = _parser().parse_args(arguments)
    try:
        return _serve(options)
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)
        return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="drm dashboard", description="Show a run as a page while it goes on.")
    parser.add_argument(
        "--reports-dir", type=Path, default=Path("reports"), help="where the run writes (default: reports)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=_port, default=0, help="the port to listen on (default: one that is free)")
    parser.add_argument("--history", type=Path, default=HISTORY, help=f"of past runs (default: {HISTORY})")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: write a number up to 65535")
    return int(text)


def _serve(options: argparse.Namespace) -> int:
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        what = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: there is no dashboard"
        raise ConfigError(what, remedy="python -m pip install 'drm-testing[dashboard]'")
    import uvicorn

    if options.reports_dir.exists() and not options.reports_dir.is_dir():
        raise ConfigError(f"{options.reports_dir}: is no folder", remedy="name the folder that the run writes to")
    token = secrets.token_urlsafe(24)
    with _listening(options.host, options.port) as door:
        host, port = door.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{port}/?token={quote(token)}"
        _tell(options, address)
        watched = Watched(options.reports_dir, history=options.history)
        ending = _Ending()
        app = application(watched, token, is_ending=ending)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        ending.ask = lambda: server.should_exit
        with suppress(KeyboardInterrupt):  # uvicorn ends in order, then raises it again
            server.run(sockets=[door])
    return 0


class _Ending:
    """Whether the server is about to end; it is asked before there is one."""

    def __init__(self) -> None:
        self.ask: Callable[[], bool] = lambda: False

    def __call__(self) -> bool:
        return self.ask()


def _listening(host: str, port: int) -> socket.socket:
    """Return the socket; ConfigError says in a line why there can be none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        what = f"cannot listen on {one_line(host, 80)}, port {port} ({error.strerror or error})"
        raise ConfigError(what, remedy="choose another --host or --port") from error


def _tell(options: argparse.Namespace, address: str) -> None:
    if not options.reports_dir.is_dir():
        print(f"drm: {options.reports_dir} is not there yet; the page will be empty until a run writes to it")
    if not _is_loopback(options.host):
        warning = "whoever sees the traffic sees the page and its token, for it is not encrypted"
        print(f"drm: {options.host} can be reached from other machines; {warning}", file=sys.stderr)
    print(f"drm: dashboard: {address} (Ctrl-C ends it)", flush=True)
    if options.open and not webbrowser.open(address):
        print("drm: no browser could be started; open the address yourself", file=sys.stderr)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def application(watched: Watched, token: str, *, is_ending: Callable[[], bool] = lambda: False) -> Starlette:
    """Return the ASGI application: ``/`` is the page, ``/events`` tells when it has changed; both want the token."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    def refusal(request: Request) -> Response | None:
        given = request.query_params.get("token", "")
        if secrets.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            return None
        line = "The address needs the token that `drm dashboard` printed.\n"
        return PlainTextResponse(line, status_code=403, headers=_HEADERS)

    async def page(request: Request) -> Response:
        refused = refusal(request)
        if refused is not None:
            return refused
        text = await run_in_threadpool(watched.page)
        return HTMLResponse(text.encode("utf-8", "replace"), headers=_HEADERS)

    async def events(request: Request) -> Response:
        refused = refusal(request)
        if refused is not None:
            return refused
        return StreamingResponse(changes(watched, is_ending), media_type="text/event-stream", headers=_HEADERS)

    async def missing(_: Request) -> Response:
        line = "drm dashboard serves the page alone; the files are in the folder of reports.\n"
        return PlainTextResponse(line, status_code=404, headers=_HEADERS)

    return Starlette(routes=[Route("/", page), Route("/events", events), Route("/{path:path}", missing)])


async def changes(
    watched: Watched, is_ending: Callable[[], bool], *, look_s: float = _LOOK_S, beat_s: float = _BEAT_S
) -> AsyncIterator[str]:
    """Yield an event ``report`` when there is a new page to fetch, and ``end`` at the end; a comment keeps it open."""
    seen: object = watched.state()
    number, silent_s = 0, 0.0
    yield "retry: 2000\n\n"
    while not is_ending():
        await asyncio.sleep(look_s)
        silent_s += look_s
        state = await asyncio.to_thread(watched.state)
        # A page that was fetched too soon after another one is of an earlier state: say it again.
        is_missed = not watched.is_shown(state) and silent_s >= _AGAIN_S
        if watched.is_due() and (state != seen or is_missed):
            seen, number, silent_s = state, number + 1, 0.0
            yield f"event: report\ndata: {number}\n\n"
        elif silent_s >= beat_s:
            silent_s = 0.0
            yield ": still here\n\n"
    yield "event: end\ndata: 0\n\n"
