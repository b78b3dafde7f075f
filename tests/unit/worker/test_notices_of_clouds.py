"""Notices of interruption, asked of metadata services that keep the documented rules."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from drm.worker.notices import NoticeWatch, ec2_notice, fetch, gce_notice, source_of


class Metadata:
    """IMDSv2 of EC2 and the metadata server of Compute Engine. ``action``, ``rebalance``: JSON, empty for 404."""

    def __init__(self) -> None:
        self.action = self.rebalance = ""
        self.preempted = "FALSE"
        self.url = ""

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if path == "/latest/api/token":
            ttl = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            good = method == "PUT" and ttl.isdecimal() and 1 <= int(ttl) <= 21_600
            return (200, "the-token") if good else (400, "")
        if path.startswith("/latest/"):
            if headers.get("x-aws-ec2-metadata-token") != "the-token":
                return 401, ""
            found = {
                "/latest/meta-data/spot/instance-action": self.action,
                "/latest/meta-data/events/recommendations/rebalance": self.rebalance,
            }.get(path, "")
            return (200, found) if found else (404, "not found")
        if headers.get("metadata-flavor") != "Google":
            return 403, ""
        return (200, self.preempted) if path == "/computeMetadata/v1/instance/preempted" else (404, "")


@contextmanager
def served() -> Iterator[Metadata]:
    metadata = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = metadata.answer(self.command, self.path, headers)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content.encode())

        do_GET = do_PUT = _serve  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    metadata.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield metadata
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with served() as found:
        yield found


def test_ec2_tells_of_interruptions_and_of_what_may_become_one(metadata: Metadata) -> None:
    assert ec2_notice(metadata.url) == ""
    metadata.rebalance = json.dumps({"noticeTime": "2026-01-01T08:22:00Z"})
    assert ec2_notice(metadata.url) == "rebalance recommendation: 2026-01-01T08:22:00Z"
    metadata.action = json.dumps({"action": "terminate", "time": "2026-01-01T08:24:00Z"})
    assert ec2_notice(metadata.url) == "spot interruption: terminate at 2026-01-01T08:24:00Z"


@pytest.mark.parametrize("text", ["<html>\nno JSON" + "x" * 9000, "[1, 2]", "{}", "[" * 3000])
def test_whatever_it_says_is_one_short_line(metadata: Metadata, text: str) -> None:
    metadata.action = text
    notice = ec2_notice(metadata.url)
    assert notice.startswith("spot interruption: ")
    assert "\n" not in notice
    assert len(notice) < 160


def test_compute_engine_tells_of_preemption(metadata: Metadata) -> None:
    assert gce_notice(metadata.url) == ""
    metadata.preempted = "TRUE\n"
    assert gce_notice(metadata.url) == "spot preemption: the machine is being stopped"


def test_without_an_answer_there_is_no_notice(metadata: Metadata) -> None:
    assert fetch(f"{metadata.url}/latest/meta-data/spot/instance-action", "GET", {}) is None  # IMDSv1 is off
    for ask in (ec2_notice, gce_notice):
        assert ask("http://127.0.0.1:9") == ""


def test_only_where_a_cloud_is_named_anything_is_asked(metadata: Metadata) -> None:
    for environment in ({}, {"DRM_NOTICES": ""}, {"DRM_NOTICES": "moon"}):
        assert source_of(environment) is None
    metadata.preempted = "TRUE"
    source = source_of({"DRM_NOTICES": f"gce={metadata.url}/"})
    assert source is not None
    assert source().startswith("spot preemption")


def test_the_watch_gives_a_notice_once() -> None:
    said = iter(["", "", "spot interruption: now"])
    watch = NoticeWatch(lambda: next(said), every_s=0.001)
    deadline = time.monotonic() + 30
    while not (notice := watch.take()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert notice == "spot interruption: now"
    assert watch.take() == ""
    watch.close()


def test_a_watch_that_is_closed_asks_no_more() -> None:
    asked = []
    watch = NoticeWatch(lambda: asked.append(1) or "", every_s=3600.0)  # type: ignore[func-returns-value]
    watch.close()
    watch._thread.join(30)
    assert not watch._thread.is_alive()
    assert len(asked) <= 1
