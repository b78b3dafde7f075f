"""Real processes: what they are given, and that nothing of them is left."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drm.cloud_provider_manager import LocalProvider
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import ConfigError
from drm.model.resources import Resources

Request = Callable[..., InstanceRequest]


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def wait_for(condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def pid_of(instance: Instance) -> int:
    return int(instance.detail.split()[1])


def test_the_command_runs_apart_with_its_environment_and_log(
    local: LocalProvider, request_for: Request, tmp_path: Path
) -> None:
    code = (
        "import os, sys; print(os.environ['DRM_X'], os.getsid(0) == os.getpid(), repr(sys.stdin.read()), flush=True);"
        "print('to stderr', file=sys.stderr)"
    )
    instance = local.create(request_for("w1", command=python(code), environment=(("DRM_X", "hello"),)))
    wait_for(lambda: local.describe(instance.instance_id).state is InstanceState.GONE)
    assert (tmp_path / "logs" / "w1.log").read_text() == "hello True ''\nto stderr\n"
    assert "exit code 0" in local.describe(instance.instance_id).detail


def test_how_a_process_ended_is_said(local: LocalProvider, request_for: Request) -> None:
    instance = local.create(request_for(command=python("import os; os.kill(os.getpid(), 9)")))
    wait_for(lambda: local.describe(instance.instance_id).state is InstanceState.GONE)
    assert "SIGKILL" in local.describe(instance.instance_id).detail


def test_a_process_that_ends_on_sigterm_ends_in_its_own_way(
    local: LocalProvider, request_for: Request, tmp_path: Path
) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(3)))\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    instance = local.create(request_for("w1", command=python(code)))
    log = tmp_path / "logs" / "w1.log"
    wait_for(lambda: log.read_text() == "up\n")
    local.terminate(instance.instance_id)
    assert log.read_text() == "up\nbye\n"
    assert "exit code 3" in local.describe(instance.instance_id).detail


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    time.sleep(60)
print("up", flush=True)
time.sleep(60)
"""


def test_a_stubborn_process_and_its_children_are_killed(request_for: Request, tmp_path: Path) -> None:
    worker_type = WorkerType(name="one", capacity=Resources(cpu_cores=1))
    provider = LocalProvider(Resources(cpu_cores=1), [worker_type], log_folder=tmp_path, grace_s=0.05)
    instance = provider.create(request_for("w1", worker_type=worker_type, command=python(STUBBORN)))
    wait_for(lambda: "up" in (tmp_path / "w1.log").read_text())
    pid = pid_of(instance)
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    assert children
    provider.terminate(instance.instance_id)
    wait_for(lambda: not any(map(alive, [pid, *children])))


def test_children_left_by_a_dead_agent_are_ended(local: LocalProvider, request_for: Request, tmp_path: Path) -> None:
    code = "import os, time\nchild = os.fork()\nif child == 0: time.sleep(60)\nprint(child, flush=True)"
    instance = local.create(request_for("w1", command=python(code)))
    wait_for(lambda: local.describe(instance.instance_id).state is InstanceState.GONE)
    child = int((tmp_path / "logs" / "w1.log").read_text())
    wait_for(lambda: not alive(child))


def test_nothing_is_left_open(local: LocalProvider, request_for: Request) -> None:
    before = set(os.listdir("/proc/self/fd"))
    instance = local.create(request_for())
    local.terminate(instance.instance_id)
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("command", [(), ("/nonexistent/agent",)])
def test_a_command_that_cannot_be_started_is_a_config_error(
    local: LocalProvider, request_for: Request, command: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match="w1"):
        local.create(request_for("w1", command=command))
    assert local.list_instances() == ()
    assert local.available().cpu_cores == 2
