"""Workers and executors as they are played: what each is at, and what it uses."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from drm.model.cluster import WorkerType
from drm.model.resources import Resources
from drm.simulator.acts import Act

__all__ = ["Played", "PlayedWorker"]


@dataclass(slots=True, eq=False)
class Played:
    """An executor as it is played. ``life`` changes whenever what was scheduled is void."""

    worker_id: str
    executor_id: str
    batches: deque[tuple[Sequence[tuple[str, int]], float]] = field(default_factory=deque)
    batch: Sequence[tuple[str, int]] | None = None
    index: int = 0
    since_s: float = 0.0
    budget_s: float = 0.0
    running: str | None = None
    act: Act | None = None
    gpus: int = 0
    up: bool = False
    stopping: bool = False
    life: int = 0

    @property
    def peak_bytes(self) -> int:
        """What the test that runs holds."""
        return self.act.peak_bytes if self.act is not None else 0


@dataclass(slots=True, eq=False)
class PlayedWorker:
    """A worker as it is played. ``in_use_bytes``: what the tests that run on it hold together."""

    worker_type: WorkerType
    executors: dict[str, Played] = field(default_factory=dict)
    in_use_bytes: int = 0
    up: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether a test runs on the worker."""
        return any(played.act is not None for played in self.executors.values())

    def used(self) -> Resources:
        """Return what the tests that run on it use."""
        running = [(played, played.act) for played in self.executors.values() if played.act is not None]
        return Resources(
            cpu_cores=sum(act.cores for _, act in running),
            memory_bytes=self.in_use_bytes,
            gpus=float(sum(played.gpus for played, _ in running)),
        )

    def rest(self, played: Played) -> None:
        """Take off what an executor's test held, if one runs."""
        self.in_use_bytes -= played.peak_bytes
        played.running = played.act = None
