"""The same decisions as ``drm.resource_optimizer.fleet``, by loops over tasks and workers: what it is measured
against for speed, and checked against on small instances. Nothing here is fast or meant to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drm.resource_optimizer.fleet import Request, Worker

COSINE = 0.5
Real = Callable[[float], Any]


@dataclass
class Machine:
    """A worker with what is free on it."""

    worker: Worker
    cpu: int
    memory: int
    devices: list[int]
    names: dict[str, int]

    @classmethod
    def of(cls, worker: Worker) -> Machine:
        return cls(worker, worker.cpu_milli, worker.memory_bytes, [1000] * worker.gpu_devices, dict(worker.resources))

    def carries(self, request: Request) -> bool:
        some = request.any_labels
        return request.all_labels <= self.worker.labels and (not some or bool(some & self.worker.labels))

    def holds(self, request: Request) -> bool:
        """Tell whether all but the gpus is free here."""
        return (
            self.carries(request)
            and request.cpu_milli <= self.cpu
            and request.memory_bytes <= self.memory
            and all(amount <= self.names.get(name, 0) for name, amount in request.resources)
        )

    def give(self, request: Request, devices: Sequence[tuple[int, int]]) -> None:
        self.cpu -= request.cpu_milli
        self.memory -= request.memory_bytes
        for name, amount in request.resources:
            self.names[name] -= amount
        for device, milli in devices:
            self.devices[device] -= milli


@dataclass
class Naive:
    """One task at a time. ``real``: the type that cosines on workers without gpus are computed in."""

    workers: Sequence[Worker]
    expected: Mapping[Request, float] = field(default_factory=dict)
    real: Real = float

    def __post_init__(self) -> None:
        self.machines = [Machine.of(worker) for worker in self.workers]
        self.names = sorted({name for worker in self.workers for name, _ in worker.resources})
        amounts = [self._vector(Machine.of(worker)) for worker in self.workers]
        nothing = [0] * (3 + len(self.names))
        self.scale = [max(1, *column) for column in zip(nothing, *amounts, strict=True)]

    def _vector(self, machine: Machine) -> list[int]:
        named = [machine.names.get(name, 0) for name in self.names]
        return [machine.cpu, machine.memory, *named, sum(machine.devices)]

    def place(self, request: Request) -> tuple[int, list[tuple[int, int]]] | None:
        """Return the worker's number and the devices, (number, thousandths), or None."""
        found = None if request.uses_gpu else self._on_cpu(request)
        if found is None:
            found = self._on_gpu(request)
        if found is not None:
            self.machines[found[0]].give(request, found[1])
        return found

    def direction(self, request: Request) -> list[Any]:
        named = dict(request.resources)
        gpu = request.gpu_devices * 1000 + request.gpu_milli
        asked = [request.cpu_milli, request.memory_bytes, *(named.get(name, 0) for name in self.names), gpu]
        shares = [self.real(amount) / self.real(most) for amount, most in zip(asked, self.scale, strict=True)]
        square = self.real(0)
        for share in shares:
            square += share * share
        length = self.real(math.sqrt(square)) if self.real is float else square**0.5
        return [share / (length or self.real(1)) for share in shares]

    def cosine(self, direction: Sequence[Any], machine: Machine) -> Any:
        """Return the cosine of a direction and what is free on a worker without gpus."""
        free = self._vector(machine)[:-1]
        length = math.sqrt(sum((amount / most) ** 2 for amount, most in zip(free, self.scale, strict=False))) or 1.0
        score = self.real(0)
        for unit, amount, most in zip(direction, free, self.scale, strict=False):
            score += unit * self.real(amount / (most * length))
        return score

    def _on_cpu(self, request: Request) -> tuple[int, list[tuple[int, int]]] | None:
        direction = self.direction(request)[:-1]
        best, best_score = -1, self.real(0)
        for number, machine in enumerate(self.machines):
            if machine.worker.gpu_devices or not machine.holds(request):
                continue
            score = self.cosine(direction, machine)
            if score > best_score:
                best, best_score = number, score
        return None if best < 0 else (best, [])

    def _on_gpu(self, request: Request) -> tuple[int, list[tuple[int, int]]] | None:
        ranked = self.rank_on_gpu(request)
        return None if not ranked else (ranked[0][1], ranked[0][2])

    def rank_on_gpu(self, request: Request) -> list[tuple[float, int, list[tuple[int, int]]]]:
        """Return the workers with gpus on which it fits, the best first: the score, negative, its number, devices."""
        direction = [float(part) for part in self.direction(request)]
        ranked = []
        for number, machine in enumerate(self.machines):
            if not machine.worker.gpu_devices or not machine.holds(request):
                continue
            shares = [a / b for a, b in zip(self._vector(machine), self.scale, strict=True)]
            length = math.sqrt(sum(share * share for share in shares)) or 1.0
            cosine = sum(unit * share for unit, share in zip(direction, shares, strict=True)) / length
            best: tuple[float, list[tuple[int, int]]] | None = None
            for devices in _choices(machine, request):
                before = self._fragment(machine)
                machine.give(request, devices)
                gain = before - self._fragment(machine)
                machine.give(_negative(request), [(device, -milli) for device, milli in devices])
                score = round(gain + COSINE * cosine, 9)
                if best is None or score > best[0]:
                    best = (score, devices)
            if best is not None:
                ranked.append((-best[0], number, best[1]))
        return sorted(ranked, key=lambda row: row[:2])

    def _fragment(self, machine: Machine) -> float:
        """Return the gpus that are free here and would not serve the next task that wants one, by expectation."""
        total = sum(self.expected.values())
        fragment = 0.0
        for request, weight in self.expected.items():
            if not request.uses_gpu:
                continue
            free = machine.devices
            if request.is_whole_device:
                wanted, useful = request.gpu_devices or 1, [milli for milli in free if milli == 1000]
            else:
                wanted, useful = 1, [milli for milli in free if milli >= request.gpu_milli]
            serves = machine.holds(request) and len(useful) >= wanted
            fragment += weight / total * (sum(free) - (sum(useful) if serves else 0)) / 1000
        return fragment


def _choices(machine: Machine, request: Request) -> list[list[tuple[int, int]]]:
    if not request.uses_gpu:
        return [[]]
    if request.is_whole_device:
        wanted = request.gpu_devices or 1
        full = [device for device, milli in enumerate(machine.devices) if milli == 1000]
        return [[(device, 1000) for device in full[:wanted]]] if len(full) >= wanted else []
    able = [(milli, device) for device, milli in enumerate(machine.devices) if milli >= request.gpu_milli]
    return [[(device, request.gpu_milli)] for _, device in sorted(able)]


class _Negative:
    def __init__(self, request: Request) -> None:
        self.cpu_milli, self.memory_bytes = -request.cpu_milli, -request.memory_bytes
        self.resources = [(name, -amount) for name, amount in request.resources]


def _negative(request: Request) -> Any:
    return _Negative(request)


def place_class(naive: Naive, request: Request, count: int) -> list[int]:
    """Place equal tasks without gpu as ``pools.CpuPool`` does; return the number of each one's worker."""
    placed: list[int] = []
    direction = naive.direction(request)[:-1]
    while len(placed) < count:
        ranked = []
        for number, machine in enumerate(naive.machines):
            if machine.worker.gpu_devices or not machine.holds(request):
                continue
            free = naive._vector(machine)[:-1]
            length = (
                math.sqrt(sum((amount / most) ** 2 for amount, most in zip(free, naive.scale, strict=False))) or 1.0
            )
            score = naive.real(0)
            for unit, amount, most in zip(direction, free, naive.scale, strict=False):
                score += unit * naive.real(amount / (most * length))
            ranked.append((-score, number))
        if not ranked:
            break
        for _, number in sorted(ranked):
            machine = naive.machines[number]
            for _ in range(min((_fit(machine, request) + 1) // 2, count - len(placed))):
                machine.give(request, [])
                placed.append(number)
    return placed


def place_class_on_gpus(naive: Naive, request: Request, count: int) -> list[int]:
    """Place equal tasks on workers with gpus as ``pools.GpuPool`` does; return the number of each one's worker."""
    placed: list[int] = []
    while len(placed) < count:
        ranked = naive.rank_on_gpu(request)
        if not ranked:
            break
        for _, number, devices in ranked:
            machine = naive.machines[number]
            fit = _fit(machine, request)
            if request.is_whole_device:
                fit = min(fit, machine.devices.count(1000) // len(devices))
            elif request.uses_gpu:
                fit = min(fit, machine.devices[devices[0][0]] // request.gpu_milli)
            for _ in range(min((fit + 1) // 2, count - len(placed))):
                machine.give(request, _choices(machine, request)[0] if request.is_whole_device else devices)
                placed.append(number)
    return placed


def _fit(machine: Machine, request: Request) -> int:
    rows = [(machine.cpu, request.cpu_milli), (machine.memory, request.memory_bytes)]
    rows += [(machine.names.get(name, 0), amount) for name, amount in request.resources]
    return min(free // asked for free, asked in rows if asked)
