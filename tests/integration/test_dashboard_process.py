"""``drm dashboard`` beside a run, as a person uses it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import clean_environment

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'drm-testing[dashboard]'")
pytest.importorskip("starlette", reason="starlette is not installed: pip install 'drm-testing[dashboard]'")
PATIENCE_S = 60


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Return the process and the address it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "drm", "dashboard"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = None
        while found is None:
            line = process.stdout.readline()
            assert line, "it ended before it said where it is"
            found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line)
        yield process, found.group()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def test_a_run_is_seen_while_it_goes_on_and_to_its_end(
    tmp_path: Path, dashboard: tuple[subprocess.Popen[str], str]
) -> None:
    process, address = dashboard
    told: list[str] = []

    def listen() -> None:
        with urllib.request.urlopen(address.replace("/?", "/events?"), timeout=PATIENCE_S) as stream:
            told.extend(line.decode().strip() for line in stream)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert "Nothing has run" in page(address)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        page(address.partition("?")[0])
    (tmp_path / "test_a.py").write_text(
        "import pathlib, time\ndef test_a(): pass\ndef test_b():\n"
        f"    deadline = time.monotonic() + {PATIENCE_S}\n"
        "    while not pathlib.Path('go').exists():\n        assert time.monotonic() < deadline\n"
        "        time.sleep(0.01)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "drm", "run", "--drm-no-report", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE_S
    while "Running (run): 1 of 2 tests done" not in page(address):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (tmp_path / "go").touch()
    assert run.wait(PATIENCE_S) == 0
    while "Passing: 2 of 2 tests passed" not in page(address):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while "event: report" not in told and listener.is_alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    listener.join(PATIENCE_S)
    assert "event: report" in told
    assert told[-3:-1] == ["event: end", "data: 0"]
    assert process.stdout is not None
    assert process.stdout.read() == ""
