"""What it costs to open a page: cpu seconds of chromium and all its processes, until they are at rest."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Opening", "open_page"]

CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
_REST_S, _AT_REST_CPU_S = 1.0, 0.03
_TICKS = os.sysconf("SC_CLK_TCK")
_ZOOM = """async (plot) => {
  const box = plot.getBoundingClientRect(), y = box.top + box.height / 2;
  const send = (kind, share) => plot.dispatchEvent(new PointerEvent(kind, {
    clientX: box.left + 120 + (box.width - 140) * share, clientY: y,
    button: 0, pointerId: 1, pointerType: "pen", bubbles: true }));
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  await frame();
  send("pointerdown", 0.3);
  send("pointermove", 0.6);
  const began = performance.now();
  send("pointerup", 0.6);
  await frame();
  const channel = new MessageChannel();
  await new Promise((done) => {
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  });
  return performance.now() - began;
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """``cpu_s``: above that of an empty page. ``drawn_s``: wall time to the first full draw, as the page tells it.

    ``zoom_s``: the longest of some zooms, from the mouse's release until all is drawn. Both are of DRM's page only.
    """

    cpu_s: float
    drawn_s: float | None = None
    zoom_s: float | None = None


def open_page(path: Path, *, is_ours: bool) -> Opening:
    """Open the page in a fresh chromium and return what it cost; ImportError where playwright is not installed."""
    with _chromium() as (pid, page):
        before = _settled_cpu_s(pid)
        page.goto(path.as_uri(), wait_until="load", timeout=300_000)
        drawn_s = None
        if is_ours:
            page.wait_for_selector("html[data-drawn]", state="attached", timeout=300_000)
            drawn_s = float(page.evaluate("() => document.documentElement.dataset.drawn")) / 1000
        cpu_s = _settled_cpu_s(pid) - before
        zooms = []
        if is_ours:
            for _ in range(5):
                plot = page.get_by_role("slider", name="Tests of each executor")
                plot.scroll_into_view_if_needed()
                page.evaluate("() => new Promise((done) => setTimeout(done, 100))")  # what comes into sight is drawn
                zooms.append(plot.evaluate(_ZOOM) / 1000)
                page.get_by_role("button", name="Show all").click()
    return Opening(cpu_s=cpu_s, drawn_s=drawn_s, zoom_s=max(zooms, default=None))


@contextmanager
def _chromium() -> Iterator[tuple[int, Any]]:
    """Yield the process id of a chromium of its own and an empty page in it."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, sync_playwright() as playwright:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = _port(Path(profile) / "DevToolsActivePort")
            browser = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}")
            page = browser.contexts[0].pages[0]
            page.set_viewport_size({"width": 1400, "height": 900})
            yield process.pid, page
            browser.close()
        finally:
            process.terminate()
            process.wait(timeout=30)


def _port(file: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if file.exists() and (lines := file.read_text().splitlines()):
            return lines[0]
        time.sleep(0.05)
    raise TimeoutError(f"{CHROMIUM} did not start within 60 s")


def _settled_cpu_s(pid: int) -> float:
    """Return the cpu seconds of the process and all below it, once they have come to rest."""
    last = _cpu_s(pid)
    while True:
        time.sleep(_REST_S)
        now = _cpu_s(pid)
        if now - last < _AT_REST_CPU_S:
            return now
        last = now


def _cpu_s(pid: int) -> float:
    parents, times = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            parents[int(folder.name)] = int(fields[1])
            times[int(folder.name)] = sum(map(int, fields[11:15])) / _TICKS
    total = 0.0
    for process in times:
        above = process
        while above not in (0, pid):
            above = parents.get(above, 0)
        total += times[process] if above == pid else 0.0
    return total
