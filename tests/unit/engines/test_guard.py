"""What keeps Ray's processes of one machine together leaves nothing; what it could not remove, the next start does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drm.engines.ray_engine.guard import sweep

GUARD = [sys.executable, "-m", "drm.engines.ray_engine.guard"]
SLEEPS = ["sh", "-c", "echo $$ > pid; exec sleep 600"]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def folder_of_ray(parent: Path, name: str) -> Path:
    folder = parent / f"drm-{name}"
    (folder / "session_1").mkdir(parents=True)
    (folder / "session_latest").symlink_to(folder / "session_1")
    return folder


def guarded(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Return a guard and the process that it guards."""
    started = subprocess.Popen([*GUARD, str(os.getpid()), str(folder), *SLEEPS])
    until(lambda: (folder / "pid").exists() and (folder / "pid").read_text())
    return started, int((folder / "pid").read_text())


def test_a_folder_goes_with_its_guard(tmp_path: Path) -> None:
    folder = folder_of_ray(tmp_path, "a")
    guard, pid = guarded(folder)
    guard.terminate()
    guard.wait(30)
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


TOLD_AMID_THE_START = """
import os, signal, subprocess, sys
from pathlib import Path
from drm.engines.ray_engine.guard import guard

class Started(subprocess.Popen):
    def _execute_child(self, *arguments):
        super()._execute_child(*arguments)
        Path(sys.argv[2]).write_text(str(self.pid))
        os.kill(os.getpid(), signal.SIGTERM)

subprocess.Popen = Started
guard(os.getppid(), Path(sys.argv[1]), ["sleep", "600"])
"""


def test_a_guard_that_is_told_to_end_amid_the_start_leaves_nothing(tmp_path: Path) -> None:
    folder, pid = folder_of_ray(tmp_path, "a"), tmp_path / "pid"
    subprocess.run([sys.executable, "-c", TOLD_AMID_THE_START, str(folder), str(pid)], timeout=60, check=True)
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_guard_whose_parent_ended_before_it_could_ask_starts_nothing(tmp_path: Path) -> None:
    folder = folder_of_ray(tmp_path, "a")
    command = [sys.executable, "-c", f"open({str(tmp_path / 'started')!r}, 'w')"]
    subprocess.run([*GUARD, str(os.getppid()), str(folder), *command], timeout=60, check=True)
    assert not folder.exists()
    assert not (tmp_path / "started").exists()


def test_ray_whose_guard_ended_before_it_could_ask_ends() -> None:
    start = [sys.executable, "-m", "drm.engines.ray_engine.start", "start"]
    not_its_parent = {**os.environ, "DRM_GUARD": str(os.getppid())}
    assert subprocess.run(start, env=not_its_parent, timeout=60).returncode == -signal.SIGKILL


def test_what_is_guarded_knows_its_guard(tmp_path: Path) -> None:
    folder = folder_of_ray(tmp_path, "a")
    guard, pid = guarded(folder)
    told, environment = f"DRM_GUARD={guard.pid}".encode(), Path(f"/proc/{pid}/environ")
    until(lambda: told in environment.read_bytes().split(b"\0"))  # amid its exec a process shows none
    guard.terminate()
    guard.wait(30)


def test_what_a_machine_without_power_has_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    alive, dead, other = folder_of_ray(tmp_path, "alive"), folder_of_ray(tmp_path, "dead"), tmp_path / "drm-other"
    other.mkdir()
    guard, _ = guarded(alive)
    lost, pid = guarded(dead)
    lost.kill()
    lost.wait()
    sweep(tmp_path)
    assert dead.exists(), "what it guarded lives, and holds it"
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes())
    sweep(tmp_path)
    assert not dead.exists()
    assert alive.exists()
    assert other.exists(), "it is none of Ray's"
    guard.terminate()
    guard.wait(30)


def test_a_folder_that_a_process_names_is_kept(tmp_path: Path) -> None:
    folder = folder_of_ray(tmp_path, "named")
    with subprocess.Popen(["sh", "-c", "sleep 600; true", str(folder)], start_new_session=True) as process:
        until(lambda: bytes(folder) in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        sweep(tmp_path)
        kept = folder.exists()
        os.killpg(process.pid, signal.SIGKILL)
    assert kept
    until(lambda: sweep(tmp_path) or not folder.exists())  # the other process of the group dies a little later
