"""Whether requirements fit a worker or a worker type, how often, and the sentence that says why not."""

from __future__ import annotations

from collections.abc import Sequence

from drm.model.cluster import WorkerType, WorkerView
from drm.model.gpus import shares_side_by_side
from drm.model.resources import Requirements, Resources
from drm.model.units import format_bytes

Place = WorkerView | WorkerType


def room(place: Place) -> Resources:
    """Return what an empty worker of this kind offers to tests."""
    return place.allocatable if isinstance(place, WorkerView) else place.capacity


def can_hold(place: Place, requirements: Requirements) -> bool:
    """Tell whether the test could run there if nothing else did."""
    return requirements.labels <= place.labels and requirements.amounts.fits_in(room(place))


def side_by_side(amounts: Resources, whole: Resources) -> int:
    """Return how many times the amounts fit in ``whole`` (one per core where nothing is asked for)."""
    counts = [
        int(part // asked)
        for asked, part in (
            (round(amounts.cpu_cores * 1000), round(whole.cpu_cores * 1000)),
            (amounts.memory_bytes, whole.memory_bytes),
        )
        if asked > 0
    ]
    if amounts.gpus > 0:
        counts.append(shares_side_by_side(amounts.gpus, whole.gpus))
    return min(counts) if counts else max(1, int(whole.cpu_cores))


def placement_problem(requirements: Requirements, places: Sequence[Place]) -> str | None:
    """Return why a test fits none of the workers (or worker types); None if it fits one.

    For example ``"needs 3 gpu; the largest worker has 2"``.
    """
    if any(can_hold(place, requirements) for place in places):
        return None
    if not places:
        return f"needs {requirements.amounts.describe()}; there is no worker"
    labelled = [place for place in places if requirements.labels <= place.labels]
    if not labelled:
        return _label_problem(requirements.labels, places)
    whose = "the largest worker" if not requirements.labels else f"the largest worker labelled {_names(requirements)}"
    asked = requirements.amounts
    rooms = [room(place) for place in labelled]
    most_cpu = max(whole.cpu_cores for whole in rooms)
    most_memory = max(whole.memory_bytes for whole in rooms)
    most_gpus = max(whole.gpus for whole in rooms)
    problems = []
    if asked.cpu_cores > most_cpu:
        problems.append(f"needs {asked.cpu_cores:g} cpu; {whose} has {most_cpu:g}")
    if asked.memory_bytes > most_memory:
        problems.append(f"needs {format_bytes(asked.memory_bytes)} of memory; {whose} has {format_bytes(most_memory)}")
    if asked.gpus > most_gpus:
        problems.append(f"needs {asked.gpus:g} gpu; {whose} has {most_gpus:g}")
    return " and ".join(problems) or f"needs {asked.describe()} together; no one worker has all of it"


def _names(requirements: Requirements) -> str:
    return ", ".join(sorted(requirements.labels))


def _label_problem(labels: frozenset[str], places: Sequence[Place]) -> str:
    carried = frozenset[str]().union(*(place.labels for place in places))
    missing = sorted(labels - carried)
    if missing:
        what = "label" if len(missing) == 1 else "labels"
        return f"needs the {what} {', '.join(missing)}; no worker carries {'it' if len(missing) == 1 else 'them'}"
    return f"needs the labels {', '.join(sorted(labels))} together; no one worker carries all of them"
