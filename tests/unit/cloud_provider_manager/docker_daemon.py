"""A docker daemon of the test's own: no bridge, no iptables, everything in a temporary folder."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faulty_ec2_client import with_parent

IMAGE = "drm-test:latest"
_PROGRAMS = ("/bin/sh", "/bin/sleep", "/usr/bin/env")
_STARTS_WITHIN_S = 30.0


@dataclass(frozen=True)
class Daemon:
    host: str

    def kill(self, container_id: str) -> None:
        """End a container's process behind its provider's back."""
        with self.client() as api:
            api.kill(container_id)

    def client(self) -> Any:
        """Return docker-py's low-level client, a context manager."""
        import docker

        return docker.APIClient(base_url=self.host, version="auto")


@contextmanager
def started(folder: Path) -> Iterator[Daemon]:
    """Start a daemon, give it the image, and end it; skip the test with the reason where that cannot be done."""
    from docker.errors import DockerException
    from requests import RequestException

    program = shutil.which("dockerd")
    if program is None:
        pytest.skip("no docker daemon can be started here: dockerd is not installed (apt-get install docker.io)")
    if os.geteuid() != 0:
        pytest.skip("no docker daemon can be started here: that needs root")
    # The socket's path may have 107 characters at most, and a test's folder is longer than that.
    short = Path(tempfile.mkdtemp(prefix="drm-"))
    log = folder / "dockerd.log"
    daemon = Daemon(host=f"unix://{short}/docker.sock")
    command = [
        *(program, "--host", daemon.host, "--iptables=false", "--bridge=none", "--pidfile", str(short / "pid")),
        *("--data-root", str(folder / "data"), "--exec-root", str(short / "exec"), "--log-level", "warn"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(with_parent(command), stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                with daemon.client() as api:
                    api.import_image_from_data(_tree(), repository="drm-test", tag="latest")
                break
            except (DockerException, RequestException):
                if process.poll() is not None or time.monotonic() > deadline:
                    last = log.read_text(errors="replace").strip().splitlines()[-1:]
                    pytest.skip(f"no docker daemon can be started here: {' '.join(last)[-300:]}")
                time.sleep(0.05)
        yield daemon
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(short, ignore_errors=True)
        shutil.rmtree(folder / "data", ignore_errors=True)


def _tree() -> bytes:
    """Return a tar with a shell, ``sleep``, ``env`` and the libraries that they need: all of an image."""
    files = {Path(program) for program in _PROGRAMS}
    for program in _PROGRAMS:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        files |= {Path(word) for word in listed.split() if word.startswith("/")}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in sorted(files):
            tar.add(os.path.realpath(file), arcname=str(file).lstrip("/"))
    return buffer.getvalue()
