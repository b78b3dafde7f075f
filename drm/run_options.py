"""What a run was asked for, whoever asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drm.coordinator.retries import RetryPolicy
from drm.dynamic_resource_manager import ScalingSettings
from drm.engines.silence import SILENT_S
from drm.model.cluster import WorkerType
from drm.model.resources import Resources
from drm.priorities import ORDERS
from drm.provisioning import Machines, Place
from drm.worker.limits import machine_capacity

__all__ = ["RunOptions", "capacity_of", "place_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the surface was asked for. ``executors`` (0, 0): run in this process. ``workers``: (0, 0) for none.
    ``worker_types``: every way in which one can be had, from ``machines``.

    ``start_method``: "fork" or "spawn"; None: fork where that is safe.
    ``coordinator``: HOST:PORT of the one whose workers are used; empty for none.
    ``counted``: resources of the whole run, by name. ``order``: one of ``priorities.ORDERS``.
    ``bundle_exclude``, ``bundle_limit_bytes``: patterns of files that no machine is sent, and how much is sent at most.
    ``silent_s``: a separate worker from which nothing is heard for so long is lost.
    ``excused``: tests that fail no run, whatever becomes of them. ``safe``: reserve so that fewer attempts are killed.
    """

    executors: tuple[int, int]
    workers: tuple[int, int] = (0, 0)
    worker_types: tuple[WorkerType, ...] = ()
    machines: Machines = field(default_factory=Machines)
    capacity: Resources
    coordinator: str = ""
    start_method: str | None = None
    counted: Mapping[str, int] = field(default_factory=dict)
    order: str = ORDERS[0]
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    timeout_factor: float | None = None
    scaling: ScalingSettings = field(default_factory=ScalingSettings)
    speculate: bool = False
    silent_s: float = SILENT_S
    max_failures: int = 0
    bundle_exclude: tuple[str, ...] = ()
    bundle_limit_bytes: int | None = None
    excused: frozenset[str] = frozenset()
    safe: bool = False
    report_dir: Path | None = None
    history_path: Path | None = None
    rootdir: Path
    command: tuple[str, ...] = ()

    @property
    def has_pool(self) -> bool:
        """Whether workers are machines or processes of their own, none inside this one."""
        return bool(self.worker_types or self.coordinator)


def capacity_of(cpus: float | None, memory_bytes: int | None, gpus: int) -> Resources:
    """Return what this machine gives, with what the user set in its place."""
    machine = machine_capacity()
    return Resources(
        cpu_cores=machine.cpu_cores if cpus is None else cpus,
        memory_bytes=machine.memory_bytes if memory_bytes is None else memory_bytes,
        gpus=gpus,
    )


def place_of(options: RunOptions, folder: Path) -> Place:
    """Return what workers share with this run, whose engine lets them join in ``folder``, and where others can join."""
    host = options.coordinator.rpartition(":")[0].strip("[]")
    own = Path(__file__).resolve().parents[1]
    return Place(folders=(folder, options.rootdir, own), reaches_machines=bool(host), host=host)
