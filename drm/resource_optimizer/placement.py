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


def lacking(requirements: Requirements, places: Sequence[Place]) -> tuple[str, ...]:
    """Return what no worker (or worker type) has for a test: ``workers``, ``labels``, or of ``cpu``, ``memory`` and
    ``gpu`` those of which none has enough; ``together`` where each is somewhere; nothing where it fits one."""
    if any(can_hold(place, requirements) for place in places):
        return ()
    rooms = [room(place) for place in places if requirements.labels <= place.labels]
    if not rooms:
        return ("labels",) if places else ("workers",)
    asked = requirements.amounts
    amounts = (
        ("cpu", asked.cpu_cores, max(whole.cpu_cores for whole in rooms)),
        ("memory", asked.memory_bytes, max(whole.memory_bytes for whole in rooms)),
        ("gpu", asked.gpus, max(whole.gpus for whole in rooms)),
    )
    return tuple(name for name, wanted, most in amounts if wanted > most) or ("together",)


def placement_problem(requirements: Requirements, places: Sequence[Place]) -> str | None:
    """Return why a test fits none of the workers (or worker types); None if it fits one.

    For example ``"needs 3 gpu; the largest worker has 2"``.
    """
    lacks = lacking(requirements, places)
    asked = requirements.amounts
    if not lacks:
        return None
    if "workers" in lacks:
        return f"needs {asked.describe()}; there is no worker"
    if "labels" in lacks:
        return _label_problem(requirements.labels, places)
    if "together" in lacks:
        return f"needs {asked.describe()} together; no one worker has all of it"
    whose = "the largest worker" if not requirements.labels else f"the largest worker labelled {_names(requirements)}"
    rooms = [room(place) for place in places if requirements.labels <= place.labels]
    problems = {
        "cpu": f"needs {asked.cpu_cores:g} cpu; {whose} has {max(whole.cpu_cores for whole in rooms):g}",
        "memory": f"needs {format_bytes(asked.memory_bytes)} of memory; "
        f"{whose} has {format_bytes(max(whole.memory_bytes for whole in rooms))}",
        "gpu": f"needs {asked.gpus:g} gpu; {whose} has {max(whole.gpus for whole in rooms):g}",
    }
    return " and ".join(problems[name] for name in lacks)


def _names(requirements: Requirements) -> str:
    return ", ".join(sorted(requirements.labels))


def _label_problem(labels: frozenset[str], places: Sequence[Place]) -> str:
    carried = frozenset[str]().union(*(place.labels for place in places))
    missing = sorted(labels - carried)
    if missing:
        what = "label" if len(missing) == 1 else "labels"
        return f"needs the {what} {', '.join(missing)}; no worker carries {'it' if len(missing) == 1 else 'them'}"
    return f"needs the labels {', '.join(sorted(labels))} together; no one worker carries all of them"
