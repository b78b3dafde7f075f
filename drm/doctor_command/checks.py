"""What ``drm doctor`` looks at: each check is a function without arguments that returns what it found."""

from __future__ import annotations

import enum
import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from drm.model.units import format_bytes
from drm.worker import oom
from drm.worker.gpus import machine_gpus
from drm.worker.limits import MemoryLimits, machine_capacity

__all__ = ["CHECKS", "Finding", "State"]

_HISTORY = Path(".drm", "history.db")
_TIMEOUT_S = 10
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class State(enum.StrEnum):
    """``BROKEN``: a run will not work. ``ABSENT``: something that a run can do without."""

    WORKS = "works"
    ABSENT = "absent"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found of ``what``, in words; ``remedy`` where there is something to do."""

    what: str
    state: State
    told: str
    remedy: str = ""


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    told = f"{version} on {sys.platform}"
    if sys.platform == "linux":
        return Finding(what="python", state=State.WORKS, told=told)
    return Finding(what="python", state=State.BROKEN, told=told, remedy="run tests on Linux, such as in a container")


def _plugin() -> Finding:
    found = importlib.metadata.entry_points(group="pytest11", name="drm")
    told = f"pytest {importlib.metadata.version('pytest')}"
    if found:
        return Finding(what="pytest", state=State.WORKS, told=f"{told} finds the plugin")
    remedy = "install the package, or give -p drm.pytest_plugin (drm run does)"
    return Finding(what="pytest", state=State.ABSENT, told=f"{told} does not find the plugin by itself", remedy=remedy)


def _fork() -> Finding:
    pid = os.fork() if hasattr(os, "fork") else -1
    if pid == 0:
        os._exit(0)
    if pid > 0 and os.waitpid(pid, 0)[1] == 0:
        return Finding(what="fork", state=State.WORKS, told="executors are forked: collected once, memory shared")
    return Finding(
        what="fork", state=State.ABSENT, told="there is no fork", remedy="executors are spawned, and each collects"
    )


def _cores() -> Finding:
    cores = machine_capacity().cpu_cores
    of = os.cpu_count() or 1
    told = f"{cores:g}" if cores == of else f"{cores:g} of the machine's {of}, by affinity or a cgroup's quota"
    return Finding(what="cores", state=State.WORKS, told=told)


def _memory() -> Finding:
    lowest = min(MemoryLimits().levels(), key=lambda level: level.limit_bytes, default=None)
    if lowest is None:
        remedy = "give --drm-memory"
        return Finding(what="memory", state=State.ABSENT, told="/proc/meminfo cannot be read", remedy=remedy)
    told = f"{format_bytes(lowest.limit_bytes)}, the limit of {lowest.name}; {format_bytes(lowest.left_bytes)} left"
    return Finding(what="memory", state=State.WORKS, told=told)


def _peaks() -> Finding:
    code = "open('/proc/self/clear_refs', 'w').write('5'); assert 'VmHWM' in open('/proc/self/status').read()"
    if _succeeds(sys.executable, "-c", code):
        return Finding(what="peaks", state=State.WORKS, told="the peak memory of each test is measured by itself")
    told = "/proc/self/clear_refs cannot be written: a test's peak is that of its process so far"
    return Finding(what="peaks", state=State.ABSENT, told=told, remedy="allow writing to /proc in the container")


def _kills() -> Finding:
    for path in oom.counters():
        if "oom_kill " in oom.read(path):
            whose = "of the whole machine" if path.name == "vmstat" else "of this cgroup"
            return Finding(what="oom kills", state=State.WORKS, told=f"counted by {path} ({whose})")
    told = "nothing here counts them: a SIGKILL for memory is told by the memory that the test held"
    return Finding(what="oom kills", state=State.ABSENT, told=told)


def _pressure() -> Finding:
    if MemoryLimits().has_pressure:
        return Finding(what="pressure", state=State.WORKS, told="waiting for memory (PSI) is seen")
    told = "the kernel tells no pressure (PSI): memory is watched by what is used"
    return Finding(what="pressure", state=State.ABSENT, told=told)


def _history() -> Finding:
    if _HISTORY.exists():
        return _history_there()
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".drm-doctor-", dir=".") as folder,
            closing(sqlite3.connect(Path(folder, "history.db"))) as made,
        ):
            mode = made.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    except (OSError, sqlite3.Error) as error:
        remedy = "runs go on and remember nothing: make the folder writable"
        return Finding(what="history", state=State.ABSENT, told=f"no file can be kept here ({error})", remedy=remedy)
    return Finding(what="history", state=State.WORKS, told=f"none yet; one can be kept here (SQLite, {mode})")


def _history_there() -> Finding:
    """Look into the file and leave it as it is: a run would set a damaged one aside."""
    try:
        with closing(sqlite3.connect(f"{_HISTORY.absolute().as_uri()}?mode=ro", uri=True)) as there:
            problem = there.execute("PRAGMA quick_check(1)").fetchone()[0]
            tests = there.execute("SELECT count(*) FROM tests").fetchone()[0]
    except sqlite3.Error as error:
        problem, tests = str(error), 0
    if problem == "ok":
        return Finding(what="history", state=State.WORKS, told=f"{_HISTORY} knows {tests:,} tests")
    remedy = "the next run sets it aside and begins a new one; drm history merge takes over a copy"
    return Finding(what="history", state=State.ABSENT, told=f"{_HISTORY} is damaged ({problem})", remedy=remedy)


def _gpus() -> Finding:
    if importlib.util.find_spec("pynvml") is None:
        return _extra("gpus", "nvidia-ml-py is not installed", "gpu")
    count = machine_gpus()
    if count:
        return Finding(what="gpus", state=State.WORKS, told=f"{count}, by NVML")
    told = "NVML sees none; --drm-gpus says how many there are"
    return Finding(what="gpus", state=State.ABSENT, told=told)


def _docker() -> Finding:
    if importlib.util.find_spec("docker") is None:
        return _extra("docker", "its Python package is not installed", "docker")
    docker = importlib.import_module("docker")
    try:
        with closing(docker.from_env(timeout=_TIMEOUT_S)) as client:
            version = client.version()["Version"]
    except Exception as error:  # each of its layers has errors of its own
        remedy = "start dockerd, or name one by DOCKER_HOST"
        told = f"no daemon answers ({type(error).__name__})"
        return Finding(what="docker", state=State.ABSENT, told=told, remedy=remedy)
    return Finding(what="docker", state=State.WORKS, told=f"daemon {version}")


def _ray() -> Finding:
    if importlib.util.find_spec("ray") is None:
        return _extra("ray", "not installed: tests run on this machine alone", "ray")
    return Finding(what="ray", state=State.WORKS, told=importlib.metadata.version("ray"))


def _git() -> Finding:
    if _succeeds("git", "rev-parse", "--git-dir"):
        return Finding(what="git", state=State.WORKS, told="this folder is in a repository")
    told = "this folder is in no repository, or git is missing"
    return Finding(what="git", state=State.ABSENT, told=told, remedy="--changed-since and drm bench need one")


def _browser() -> Finding:
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found:
        return Finding(what="chromium", state=State.WORKS, told=f"{found}: DRM's own tests open the report in it")
    told = "not found: only DRM's own tests of the report's page need it"
    return Finding(what="chromium", state=State.ABSENT, told=told)


def _optional(extra: str, does: str, *modules: str) -> Callable[[], Finding]:
    def check() -> Finding:
        missing = [name for name in modules if not _importable(name)]
        if missing:
            return _extra(extra, f"{does}: {', '.join(missing)} not installed", extra)
        return Finding(what=extra, state=State.WORKS, told=does)

    return check


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _extra(what: str, told: str, extra: str) -> Finding:
    remedy = f"python -m pip install 'drm-testing[{extra}]'"
    return Finding(what=what, state=State.ABSENT, told=told, remedy=remedy)


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


CHECKS: Mapping[str, tuple[Callable[[], Finding], ...]] = {
    "To run tests": (_python, _plugin, _fork, _cores, _memory, _history, _git),
    "To tell the truth about memory": (_peaks, _kills, _pressure),
    "Machines": (_gpus, _docker, _ray),
    "Extras": (
        _optional("badges", "SVG badges", "pybadges"),
        _optional("ci", "status and comments at CI providers", "httpx", "defusedxml"),
        _optional("dashboard", "drm dashboard", "starlette", "uvicorn"),
        _optional("live", "lines below pytest's while a run goes on", "rich"),
        _optional("ml", "memory of tests by their sizes", "numpy", "lightgbm"),
        _optional("simulate", "scenarios in YAML", "yaml"),
        _optional("aws", "workers on EC2", "boto3"),
        _optional("gcp", "workers on Google Compute Engine", "google.cloud.compute"),
        _optional("kubernetes", "workers as pods", "kubernetes"),
        _browser,
    ),
}
