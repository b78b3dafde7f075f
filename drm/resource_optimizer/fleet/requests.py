"""What a task asks for and what a worker has, in exact whole units; checked when they are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from drm.model.errors import ConfigError
from drm.model.gpus import WHOLE
from drm.model.units import shown

MOST = 2**53 - 1  # amounts are whole numbers that a double holds exactly
MOST_DEVICES = 63  # the devices of a worker are the bits of one integer

Amounts = tuple[tuple[str, int], ...]  # names and amounts, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one task needs of one worker while it runs; equal requests are one class.

    ``gpu_devices``: whole devices. Or a share of one device: ``gpu_milli`` thousandths of it, or
    ``gpu_memory_bytes`` of its memory. ``resources``: named amounts of the worker (licences, ports).
    The worker carries all of ``all_labels`` and, if there are any, one of ``any_labels``. ``locks``: held in the
    whole run, one task each. ``group``: its tasks go to one worker. Higher ``priority`` goes first.
    ConfigError for amounts that are none, or a request for nothing.
    """

    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_devices: int = 0
    gpu_milli: int = 0
    gpu_memory_bytes: int = 0
    resources: Amounts = ()
    all_labels: frozenset[str] = frozenset()
    any_labels: frozenset[str] = frozenset()
    locks: tuple[str, ...] = ()
    group: str | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        amounts = _checked(self, ("cpu_milli", "memory_bytes", "gpu_devices", "gpu_milli", "gpu_memory_bytes"))
        object.__setattr__(self, "resources", _named(self.resources))
        object.__setattr__(self, "locks", tuple(sorted(set(self.locks))))
        if isinstance(self.priority, bool) or not isinstance(self.priority, int) or abs(self.priority) > 2**31 - 1:
            raise ConfigError(f"priority: {shown(self.priority)} is not a whole number", remedy="give an integer")
        if sum(amount > 0 for amount in amounts[2:]) > 1:
            raise ConfigError(
                "a task asks for its gpu in two ways",
                remedy="give whole devices, or thousandths of one, or memory of one",
            )
        if self.gpu_milli > WHOLE:
            raise ConfigError(
                f"gpu_milli: {self.gpu_milli} is more than one device", remedy="ask for whole devices by gpu_devices"
            )
        if not any(amounts) and not self.resources:
            raise ConfigError("a task asks for nothing", remedy="give it cpu_milli, at least 1")

    @property
    def uses_gpu(self) -> bool:
        return bool(self.gpu_devices or self.gpu_milli or self.gpu_memory_bytes)

    @property
    def is_whole_device(self) -> bool:
        """Tell whether it takes its devices for itself."""
        return self.gpu_devices > 0 or self.gpu_milli == WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What one worker offers to tasks: ``gpu_devices`` devices of ``gpu_memory_bytes`` each (0: not known).

    ConfigError for amounts that are none, and for more devices than one worker can have here.
    """

    worker_id: str
    cpu_milli: int
    memory_bytes: int
    gpu_devices: int = 0
    gpu_memory_bytes: int = 0
    resources: Amounts = ()
    labels: frozenset[str] = field(default=frozenset())

    def __post_init__(self) -> None:
        _checked(self, ("cpu_milli", "memory_bytes", "gpu_devices", "gpu_memory_bytes"))
        object.__setattr__(self, "resources", _named(self.resources))
        if self.gpu_devices > MOST_DEVICES:
            raise ConfigError(
                f"{self.worker_id}: {self.gpu_devices} gpus are more than {MOST_DEVICES} on one worker",
                remedy="split it into several workers",
            )


def _checked(owner: object, names: Iterable[str]) -> list[int]:
    return [_whole(name, getattr(owner, name)) for name in names]


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise ConfigError(f"{name}: {shown(value)} is not an amount", remedy=f"give a whole number from 0 to {MOST}")
    return value


def _named(amounts: Amounts | Mapping[str, int]) -> Amounts:
    rows = sorted(amounts.items() if isinstance(amounts, Mapping) else amounts)
    if len({name for name, _ in rows}) != len(rows):
        raise ConfigError("a resource is named twice", remedy="name each once, with its amount")
    for name, amount in rows:
        _whole(name, amount)
    return tuple((name, amount) for name, amount in rows if amount)
