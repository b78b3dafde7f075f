"""Tests that ask for the same are decided about together: a suite of 20,000 has a handful of classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from drm.model.resources import Requirements
from drm.model.work import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskClass:
    """Tasks with equal amounts, labels, claims and group, in the order given."""

    requirements: Requirements
    tasks: tuple[Task, ...]


def group_tasks(tasks: Iterable[Task]) -> list[TaskClass]:
    """Return the classes of the tasks, by first appearance.

    Looked up by object first and by value second: tasks mostly share their
    Requirements objects, and hashing one costs more than all the rest.
    """
    by_object: dict[int, list[Task]] = {}
    for task in tasks:
        key = id(task.requirements)
        members = by_object.get(key)
        if members is None:
            by_object[key] = [task]
        else:
            members.append(task)
    by_value: dict[tuple[object, ...], list[list[Task]]] = {}
    for members in by_object.values():
        by_value.setdefault(_key(members[0].requirements), []).append(members)
    return [
        TaskClass(
            requirements=parts[0][0].requirements,
            tasks=tuple(task for part in parts for task in part),
        )
        for parts in by_value.values()
    ]


def _key(requirements: Requirements) -> tuple[object, ...]:
    amounts = requirements.amounts
    return (
        amounts.cpu_cores,
        amounts.memory_bytes,
        amounts.gpus,
        requirements.labels,
        requirements.claims,
        requirements.group,
    )


def round_up_memory(memory_bytes: int) -> int:
    """Return the size rounded up to four leading binary digits (at most 12.5 % more, 1 MiB at least).

    A coarse grid keeps the number of classes small.
    """
    step = max(2**20, 1 << max(0, memory_bytes.bit_length() - 4))
    return -(-memory_bytes // step) * step


def with_memory(requirements: Requirements, memory_bytes: int, source: str) -> Requirements:
    """Return the requirements with another amount of memory, and where it came from."""
    amounts = requirements.amounts
    sources = tuple(row for row in requirements.sources if row[0] != "memory")
    return replace(
        requirements,
        amounts=replace(amounts, memory_bytes=memory_bytes),
        sources=(*sources, ("memory", source)),
    )
