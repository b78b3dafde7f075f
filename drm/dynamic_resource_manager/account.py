"""One worker's account: what it has, what is reserved on it, what it uses."""

from __future__ import annotations

from drm.dynamic_resource_manager.utilization import Amounts, Meter
from drm.model import gpus
from drm.model.cluster import WorkerState, WorkerView
from drm.model.errors import CapacityError, ConfigError, LostError
from drm.model.resources import ZERO, Resources


def exact(amounts: Resources) -> Amounts:
    """Return the amounts as integers, so that adding and taking away is exact."""
    return round(amounts.cpu_cores * 1000), amounts.memory_bytes, round(amounts.gpus * 1000)


def inexact(amounts: Amounts) -> Resources:
    """Return what ``exact`` made, as Resources."""
    cpu, memory, gpu = amounts
    return Resources(cpu_cores=cpu / 1000, memory_bytes=memory, gpus=gpu / 1000)


def checked(amounts: Resources, what: str) -> Amounts:
    """Return the amounts as integers; ConfigError if one is negative."""
    cpu, memory, gpu = exact(amounts)
    if cpu < 0 or memory < 0 or gpu < 0:
        raise ConfigError(f"{what}: {amounts.describe()} has a negative amount")
    return cpu, memory, gpu


class Account:
    """Mutable, and private to the manager. Every change leaves ``reserved`` <= ``allocatable``."""

    __slots__ = (
        "_capacity",
        "_devices",
        "_free",
        "_last_devices",
        "_state",
        "_view",
        "allocatable",
        "allocated",
        "devices",
        "held",
        "idle_since_s",
        "labels",
        "left",
        "meter",
        "ready_at_s",
        "used",
        "worker_id",
        "worker_type",
    )

    def __init__(
        self,
        worker_id: str,
        *,
        worker_type: str,
        capacity: Resources,
        allocatable: Resources,
        labels: frozenset[str],
        now_s: float,
        window_s: float,
    ) -> None:
        self.worker_id = worker_id
        self.worker_type = worker_type
        self.labels = labels
        self.allocatable = allocatable
        self.allocated = exact(allocatable)
        self.left = self.allocated
        self.held: dict[str, Resources] = {}
        self.devices: dict[str, tuple[gpus.Share, ...]] = {}
        self.used = ZERO
        self.idle_since_s: float | None = now_s
        self.ready_at_s: float | None = now_s
        self.meter = Meter(now_s, window_s)
        self._capacity = capacity
        self._state = WorkerState.READY
        self._view: WorkerView | None = None
        self._free: Resources | None = allocatable
        self._devices = gpus.devices_of(allocatable.gpus)
        self._last_devices: dict[str, tuple[int, ...]] = {}

    @property
    def state(self) -> WorkerState:
        return self._state

    def take(self, reservation_id: str, amounts: Resources, now_s: float) -> None:
        """Reserve; CapacityError (state unchanged) when the worker is not ready or has too little left."""
        cpu, memory, gpu = checked(amounts, f"reservation {reservation_id!r}")
        if not (cpu or memory or gpu):
            raise ConfigError(f"reservation {reservation_id!r} asks for nothing", remedy="ask for cpu, memory or a gpu")
        if self._state is not WorkerState.READY:
            raise CapacityError(f"worker {self.worker_id} is {self._state.value}", remedy="reserve on a ready worker")
        cpu_left, memory_left, gpu_left = self.left
        if not self._holds((cpu, memory, gpu)):
            lacking = ", ".join(amounts.lacking(self.free()))
            raise CapacityError(
                f"worker {self.worker_id} has too little left: {lacking}", remedy="wait for a release or add a worker"
            )
        self.held[reservation_id] = amounts
        if gpu:
            self._take_devices(reservation_id, gpu)
        self.idle_since_s = None
        self._now_left((cpu_left - cpu, memory_left - memory, gpu_left - gpu), now_s)

    def give_back(self, reservation_id: str, now_s: float) -> Resources:
        """Undo ``take`` exactly; return the amounts."""
        amounts = self.held.pop(reservation_id)
        for device, milli in self.devices.pop(reservation_id, ()):
            self._devices[device] += milli
        cpu, memory, gpu = exact(amounts)
        cpu_left, memory_left, gpu_left = self.left
        if not self.held:
            self.idle_since_s = now_s
        self._now_left((cpu_left + cpu, memory_left + memory, gpu_left + gpu), now_s)
        return amounts

    def _now_left(self, left: Amounts, now_s: float) -> None:
        self.left = left
        self._view = self._free = None
        cpu, memory, gpu = self.allocated
        self.meter.reserve(now_s, (cpu - left[0], memory - left[1], gpu - left[2]))

    def fits(self, amounts: Amounts, labels: frozenset[str]) -> bool:
        """Tell whether a reservation would succeed now."""
        return self._state is WorkerState.READY and labels <= self.labels and self._holds(amounts)

    def _holds(self, amounts: Amounts) -> bool:
        cpu, memory, _ = self.left
        return amounts[0] <= cpu and amounts[1] <= memory and amounts[2] <= gpus.most_left(self._devices)

    def devices_of(self, reservation_id: str) -> tuple[int, ...]:
        """Return the gpus that a reservation is on, by number."""
        return tuple(device for device, _ in self.devices.get(reservation_id, ()))

    def _take_devices(self, reservation_id: str, gpu: int) -> None:
        taken = gpus.assign(self._devices, gpu, prefer=self._last_devices.get(reservation_id, ()))
        for device, milli in taken:
            self._devices[device] -= milli
        self.devices[reservation_id] = taken
        self._last_devices[reservation_id] = tuple(device for device, _ in taken)

    def resize(self, allocatable: Resources, now_s: float) -> None:
        """Change what may be reserved; CapacityError (state unchanged) where that is less than what is.

        Devices keep their numbers, so the number of gpus can change only while none is reserved.
        """
        what = f"allocatable of worker {self.worker_id}"
        amounts = checked(allocatable, what)
        if not allocatable.fits_in(self._capacity):
            raise ConfigError(f"{what} passes its capacity: {', '.join(allocatable.lacking(self._capacity))}")
        reserved = tuple(whole - left for whole, left in zip(self.allocated, self.left, strict=True))
        if any(held > whole for held, whole in zip(reserved, amounts, strict=True)):
            raise CapacityError(
                f"worker {self.worker_id} cannot shrink below what is reserved: "
                f"{', '.join(inexact((reserved[0], reserved[1], reserved[2])).lacking(allocatable))}",
                remedy="release reservations first, or deregister it",
            )
        if amounts[2] != self.allocated[2]:
            if reserved[2]:
                raise CapacityError(
                    f"worker {self.worker_id} cannot change its gpus while some are reserved",
                    remedy="release them first",
                )
            self._devices = gpus.devices_of(allocatable.gpus)
        self.meter.resize(now_s, self.allocated, amounts)
        self.allocatable, self.allocated = allocatable, amounts
        left = (amounts[0] - reserved[0], amounts[1] - reserved[1], amounts[2] - reserved[2])
        self._now_left(left, now_s)

    def use(self, used: Resources, now_s: float) -> None:
        """Note what the worker's processes use at present."""
        self.meter.use(now_s, checked(used, f"use of worker {self.worker_id}"))
        self.used = used
        self._view = None

    def become(self, state: WorkerState, now_s: float) -> None:
        """Change state; LostError for a worker that is gone."""
        if self._state is WorkerState.GONE and state is not WorkerState.GONE:
            raise LostError(f"worker {self.worker_id} is gone", remedy="register a new one")
        if state is WorkerState.READY and self._state is WorkerState.STARTING:
            self.ready_at_s = now_s
            self.idle_since_s = None if self.held else now_s
        elif state is WorkerState.STARTING:
            self.ready_at_s = None
        self._state = state
        self._view = None

    def free(self) -> Resources:
        """Return what one reservation could still have (of gpus less than is left, when devices are shared)."""
        if self._free is None:
            cpu, memory, _ = self.left
            self._free = inexact((cpu, memory, gpus.most_left(self._devices)))
        return self._free

    def view(self) -> WorkerView:
        """Return the frozen view; made anew only after a change."""
        if self._view is None:
            self._view = WorkerView(
                worker_id=self.worker_id,
                worker_type=self.worker_type,
                state=self._state,
                capacity=self._capacity,
                allocatable=self.allocatable,
                reserved=self.allocatable - inexact(self.left),
                used=self.used,
                labels=self.labels,
                reservations=len(self.held),
                idle_since_s=self.idle_since_s,
                ready_at_s=self.ready_at_s,
            )
        return self._view
