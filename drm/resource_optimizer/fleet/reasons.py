"""Why a task goes nowhere, in a sentence a person understands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drm.model.gpus import WHOLE
from drm.model.units import format_bytes
from drm.resource_optimizer.fleet.classes import UNSERVED, ClassTable
from drm.resource_optimizer.fleet.requests import Request
from drm.resource_optimizer.fleet.workers import CPU, MEMORY, Fleet


def able_workers(table: ClassTable, number: int, fleet: Fleet) -> NDArray[np.bool_]:
    """Return (W,) on which workers a task of that class could run if nothing else did."""
    share, devices = table.share[number, fleet.kind], fleet.devices
    able: NDArray[np.bool_] = table.allowed[number, fleet.kind].copy()
    able &= (fleet.capacity >= table.amounts[:, number, None]).all(axis=0)
    if table.uses_gpu[number]:
        able &= (devices == WHOLE).sum(axis=1) >= table.whole[number]
        able &= devices.max(axis=1, initial=0) >= share
    return able


def why_never(table: ClassTable, number: int, fleet: Fleet) -> str | None:
    """Return why a task of that class fits no worker even when nothing else runs; None if it fits one.

    For example ``"needs 3 GPUs on one worker; the largest has 2"``.
    """
    request = table.requests[number]
    if not len(fleet):
        return f"needs {describe(request)}; there is no worker"
    if able_workers(table, number, fleet).any():
        return None
    carries = _carries(request, fleet)
    if not carries.any():
        return _label_problem(request, fleet)
    problems = _too_much(request, table, number, fleet, carries)
    return " and ".join(problems) or f"needs {describe(request)} together; no one worker has all of it"


def why_not_now(table: ClassTable, number: int, fleet: Fleet) -> str:
    """Return what a task of that class waits for."""
    count = int(able_workers(table, number, fleet).sum())
    where = "the one worker that could run it is" if count == 1 else f"the {count} workers that could run it are"
    return f"waits for room: needs {describe(table.requests[number])}; {where} too full now"


def describe(request: Request) -> str:
    """Return the amounts for people: ``"2 cpu, 4 GiB, 1 GPU"``."""
    parts = [f"{request.cpu_milli / 1000:g} cpu"] if request.cpu_milli else []
    parts += [format_bytes(request.memory_bytes)] if request.memory_bytes else []
    parts += [_gpu(request)] if request.uses_gpu else []
    return ", ".join(parts + [f"{amount} {name}" for name, amount in request.resources])


def _gpu(request: Request) -> str:
    if request.gpu_memory_bytes:
        return f"{format_bytes(request.gpu_memory_bytes)} of one GPU"
    if request.gpu_milli:
        return f"{request.gpu_milli / WHOLE:g} of one GPU"
    return f"{request.gpu_devices} GPU{'s' if request.gpu_devices > 1 else ''}"


def _carries(request: Request, fleet: Fleet) -> NDArray[np.bool_]:
    some = request.any_labels
    fits = [request.all_labels <= labels and (not some or bool(some & labels)) for labels, _ in fleet.kinds]
    return np.array(fits, dtype=bool)[fleet.kind]


def _label_problem(request: Request, fleet: Fleet) -> str:
    carried = frozenset[str]().union(*(labels for labels, _ in fleet.kinds))
    missing = sorted(request.all_labels - carried)
    if missing:
        return f"needs the label{'s' if len(missing) > 1 else ''} {', '.join(missing)}; no worker carries " + (
            "them" if len(missing) > 1 else "it"
        )
    if request.any_labels and not request.any_labels & carried:
        return f"needs one of the labels {', '.join(sorted(request.any_labels))}; no worker carries any"
    wanted = [*sorted(request.all_labels), *([" or ".join(sorted(request.any_labels))] if request.any_labels else [])]
    return f"needs the labels {', '.join(wanted)} together; no one worker carries all of them"


def _too_much(request: Request, table: ClassTable, number: int, fleet: Fleet, carries: NDArray[np.bool_]) -> list[str]:
    labelled = bool(request.all_labels or request.any_labels)
    whose = "the largest with its labels" if labelled else "the largest"
    amounts, capacity = table.amounts[:, number], fleet.capacity[:, carries].max(axis=1)
    problems = []
    if amounts[CPU] > capacity[CPU]:
        problems.append(f"needs {amounts[CPU] / 1000:g} cpu on one worker; {whose} has {capacity[CPU] / 1000:g}")
    if amounts[MEMORY] > capacity[MEMORY]:
        asked, most = format_bytes(int(amounts[MEMORY])), format_bytes(int(capacity[MEMORY]))
        problems.append(f"needs {asked} of memory on one worker; {whose} has {most}")
    for row, name in enumerate(fleet.names, start=2):
        if amounts[row] > capacity[row]:
            problems.append(f"needs {amounts[row]} {name} on one worker; {whose} has {capacity[row]}")
    absent = [name for name, _ in request.resources if name not in fleet.names]
    problems += [f"needs {name}; no worker has any" for name in absent]
    return problems + _too_much_gpu(request, table, number, fleet, carries, whose)


def _too_much_gpu(
    request: Request, table: ClassTable, number: int, fleet: Fleet, carries: NDArray[np.bool_], whose: str
) -> list[str]:
    if not request.uses_gpu:
        return []
    most = int((fleet.devices[carries] == WHOLE).sum(axis=1).max(initial=0))
    if not most:
        return [f"needs {_gpu(request)}; no worker{' with its labels' if 'labels' in whose else ''} has a GPU"]
    if request.gpu_devices > most:
        return [f"needs {request.gpu_devices} GPUs on one worker; {whose} has {most}"]
    if request.gpu_memory_bytes and (table.share[number, fleet.kind[carries]] >= UNSERVED).all():
        largest = max(memory for (_, memory), used in zip(fleet.kinds, _used(fleet, carries), strict=True) if used)
        has = f"{whose} has {format_bytes(largest)}" if largest else "no worker says how much its GPUs have"
        return [f"needs {format_bytes(request.gpu_memory_bytes)} of one GPU; {has}"]
    return []


def _used(fleet: Fleet, carries: NDArray[np.bool_]) -> list[bool]:
    kinds = set(fleet.kind[carries].tolist())
    return [number in kinds for number in range(len(fleet.kinds))]
