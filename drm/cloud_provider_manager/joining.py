"""The command by which a machine elsewhere joins: its own Python, and a token that is good once."""

from __future__ import annotations

import sys
from dataclasses import replace

from drm.cloud_provider_manager.warm_up import PYTHON
from drm.cluster_trust.enrolment import JOIN_TOKEN, Enrolment
from drm.model.cluster import InstanceRequest

__all__ = ["Joining"]

_OF_THIS_MACHINE = frozenset({"PYTHONPATH", "PATH", "HOME", "VIRTUAL_ENV", "DRM_CLUSTER_FOLDER"})


class Joining:
    """Turns a request with this machine's joining command (``Engine.join_command``) into one for another machine.

    ``enrolment``: where the credentials are given out; ``host``: the address at which machines reach it.
    ``valid_s``: for so long after it was asked for a machine may join. ``python``: of the machines.
    """

    def __init__(
        self, enrolment: Enrolment, *, host: str, valid_s: float, python: str = PYTHON, folder: str = "/run/drm-cluster"
    ) -> None:
        self._enrolment = enrolment
        self._host = f"[{host}]" if ":" in host else host
        self._valid_s = valid_s
        self._python = python
        self._folder = folder

    def __call__(self, request: InstanceRequest) -> InstanceRequest:
        """Return the request as a machine elsewhere can carry it out. Each call makes the token before void."""
        token = self._enrolment.ticket(request.worker_id, valid_s=self._valid_s)
        join = tuple(self._python if word == sys.executable else word for word in request.command)
        command = (
            *(self._python, "-m", "drm.cluster_trust.enrolment"),
            *("--at", f"{self._host}:{self._enrolment.address[1]}", "--authority", self._enrolment.authority),
            *("--worker-id", request.worker_id, "--folder", self._folder, "--", *join),
        )
        kept = tuple((name, value) for name, value in request.environment if name not in _OF_THIS_MACHINE)
        return replace(request, command=command, environment=(*kept, (JOIN_TOKEN, token)))

    def ended(self, worker_id: str) -> None:
        """Make the worker's token void: it will not come."""
        self._enrolment.revoke(worker_id)
