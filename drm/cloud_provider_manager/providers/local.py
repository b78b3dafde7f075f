"""Workers on this machine: each is an agent process with a share of its cpu, memory and gpus."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from drm.cloud_provider_manager.providers.instances import never_seen
from drm.cloud_provider_manager.providers.requests import WAIT, check_offered, what_of
from drm.cloud_provider_manager.tags import tags_of
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, ConfigError
from drm.model.gpus import WHOLE, Share, assign, devices_of, most_left
from drm.model.resources import Resources, total
from drm.worker.gpus import shown

_NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(slots=True)
class _Agent:
    """One process that was started, and what is booked for it while it lives."""

    process: subprocess.Popen[bytes]
    request: InstanceRequest
    instance: Instance
    gpus: tuple[Share, ...]


class LocalProvider:
    """Implements ``CloudProvider`` with real processes, each the leader of its own session.

    ``capacity``: the part of the machine that may be shared out; the sum of what live
    workers were promised never passes it. ``log_folder``: their output goes to
    ``<worker_id>.log`` there (default: to ours). ``terminate`` sends SIGTERM, waits
    ``grace_s`` seconds, then sends SIGKILL to the whole process group.
    """

    def __init__(
        self,
        capacity: Resources,
        types: Sequence[WorkerType],
        *,
        name: str = "local",
        log_folder: Path | None = None,
        grace_s: float = 5.0,
    ) -> None:
        self.name = name
        self._capacity = capacity
        self._types = tuple(types)
        self._log_folder = log_folder
        self._grace_s = grace_s
        self._agents: dict[str, _Agent] = {}
        self._by_token: dict[str, str] = {}

    def create(self, request: InstanceRequest) -> Instance:
        """Start the worker's process; see ``CloudProvider.create``.

        CapacityError when the machine's share is used up, ConfigError for a type that
        is not offered or a command that cannot be started.
        """
        known = self._by_token.get(request.token) if request.token else None
        if known is not None:
            return self.describe(known)
        self._check(request)
        gpus = assign(self._gpus_left(), round(request.worker_type.capacity.gpus * WHOLE))
        process = self._start(request, shown(os.environ, [device for device, _ in gpus]))
        instance = Instance(
            instance_id=f"{self.name}-{len(self._agents) + 1}",
            worker_id=request.worker_id,
            worker_type=request.worker_type.name,
            provider=self.name,
            state=InstanceState.RUNNING,
            detail=f"process {process.pid}",
            tags=tuple(tags_of(request).items()),
            created_at=time.time(),
        )
        self._agents[instance.instance_id] = _Agent(process=process, request=request, instance=instance, gpus=gpus)
        if request.token:
            self._by_token[request.token] = instance.instance_id
        return instance

    def terminate(self, instance_id: str) -> None:
        """End the process and its group; return when they are gone. LostError for an id never seen."""
        agent = self._agent(instance_id)
        if self._seen(agent).state is InstanceState.GONE:
            return
        agent.process.terminate()
        agent.process.send_signal(signal.SIGCONT)  # one that is stopped would take no notice
        try:
            agent.process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            _kill_group(agent.process.pid)
            agent.process.wait()
        self._seen(agent)

    def describe(self, instance_id: str) -> Instance:
        """Return the instance as it is now; LostError for an id never seen."""
        return self._seen(self._agent(instance_id))

    def list_instances(self) -> tuple[Instance, ...]:
        """Return the instances whose process lives, oldest first."""
        seen = [self._seen(agent) for agent in self._agents.values()]
        return tuple(instance for instance in seen if instance.state is not InstanceState.GONE)

    def offerings(self) -> tuple[WorkerType, ...]:
        return self._types

    def available(self) -> Resources:
        """Return the capacity that no live worker was promised."""
        left = self._capacity - total(agent.request.worker_type.capacity for agent in self._live())
        return dataclasses.replace(left, gpus=most_left(self._gpus_left()) / WHOLE)

    def _live(self) -> list[_Agent]:
        return [agent for agent in self._agents.values() if self._seen(agent).state is not InstanceState.GONE]

    def _gpus_left(self) -> list[int]:
        """Return what is left of each device of this machine; those of a live worker are nobody else's."""
        left = devices_of(self._capacity.gpus)
        for device, milli in (share for agent in self._live() for share in agent.gpus):
            left[device] -= milli
        return left

    def _check(self, request: InstanceRequest) -> None:
        check_offered(request, self._types, self.name)
        lacking = request.worker_type.capacity.lacking(self.available())
        if lacking:
            raise CapacityError(
                f"this machine has too little left for {what_of(request)}: {', '.join(lacking)}", remedy=WAIT
            )

    def _start(self, request: InstanceRequest, gpus: Mapping[str, str]) -> subprocess.Popen[bytes]:
        try:
            with ExitStack() as stack:
                log = None
                if self._log_folder is not None:
                    self._log_folder.mkdir(parents=True, exist_ok=True)
                    log = stack.enter_context(open(self._log_folder / f"{request.worker_id}.log", "ab"))
                return subprocess.Popen(
                    request.command,
                    env={**os.environ, **gpus, **dict(request.environment)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            kind = CapacityError if error.errno in _NO_ROOM else ConfigError
            raise kind(f"worker {request.worker_id} cannot be started ({error})") from error

    def _agent(self, instance_id: str) -> _Agent:
        agent = self._agents.get(instance_id)
        if agent is None:
            raise never_seen(self.name, instance_id)
        return agent

    def _seen(self, agent: _Agent) -> Instance:
        """Look at the process; when it has ended, end what is left of its group, once."""
        if agent.instance.state is not InstanceState.GONE:
            code = agent.process.poll()
            if code is not None:
                _kill_group(agent.process.pid)
                agent.instance = dataclasses.replace(
                    agent.instance, state=InstanceState.GONE, detail=_ending(agent.process.pid, code)
                )
        return agent.instance


def _ending(pid: int, code: int) -> str:
    if code >= 0:
        return f"process {pid} ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"process {pid} was ended by {name}"


def _kill_group(pid: int) -> None:
    """Send SIGKILL to the group that the process led; nothing to do where none of it is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
