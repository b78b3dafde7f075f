"""What must be so in the record of any run, whatever befell it. Pure: events in, a sentence for all that is not so.

- every test has one final outcome, one that it may have, and nothing of it begins afterwards;
- every attempt that began has ended, once; what it had reserved was there, and is free again;
- every machine that was asked for has gone;
- the numbers of ``results.json`` are those of the events, and no time runs backwards.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from itertools import pairwise

from drm.model import events
from drm.model.death import DeathKind
from drm.model.resources import Resources, total
from drm.model.work import Outcome
from drm.reporting.results import Results
from drm.summary import summarise

__all__ = [
    "attempts",
    "back_again",
    "ended_once",
    "given_up",
    "instances",
    "ran_too_late",
    "reservations",
    "results",
    "times",
]

_SAME_MOMENT_S = 0.05
_FROM_OUTSIDE = (DeathKind.CRASH, DeathKind.LOST, DeathKind.HUNG, DeathKind.MEMORY)

Events = Sequence[events.Event]


def _final(seen: Events) -> dict[str, events.TestFinished]:
    return {event.task_id: event for event in seen if isinstance(event, events.TestFinished)}


def ended_once(seen: Events, wanted: Mapping[str, Set[Outcome]], excused: Set[str] = frozenset()) -> list[str]:
    """Hold the final outcomes against those that the tests may have. ``excused``: tests that may have any."""
    counts = Counter(event.task_id for event in seen if isinstance(event, events.TestFinished))
    final = _final(seen)
    wrong = [f"{name} has {counts[name]} final outcomes" for name in wanted if counts[name] != 1]
    wrong += [f"{name} has an outcome and is no test of the suite" for name in counts if name not in wanted]
    wrong += [
        f"{name} is {final[name].outcome.value}: {final[name].message}"
        for name, outcomes in wanted.items()
        if name in final and final[name].outcome not in outcomes and name not in excused
    ]
    wrong += [
        f"{event.task_id} was started after its final outcome"
        for event in seen
        if isinstance(event, events.AttemptStarted) and event.task_id in final and event.seq > final[event.task_id].seq
    ]
    return wrong


def given_up(seen: Events) -> dict[str, int]:
    """Return the tests that failed because what ran them was killed, stopped or lost, and how often that was so."""
    deaths: Counter[str] = Counter()
    last: dict[str, DeathKind | None] = {}
    for event in seen:
        if isinstance(event, events.AttemptFinished):
            last[event.task_id] = event.death
            deaths[event.task_id] += event.death in _FROM_OUTSIDE
    return {
        name: deaths[name]
        for name, ended in _final(seen).items()
        if ended.outcome is Outcome.FAILED and last.get(name) in _FROM_OUTSIDE
    }


def back_again(seen: Events) -> int:
    """Count the workers that joined after one of their name had been lost."""
    lost: set[str] = set()
    count = 0
    for event in seen:
        if isinstance(event, events.WorkerLost):
            lost.add(event.worker_id)
        elif isinstance(event, events.WorkerReady) and event.worker_id in lost:
            lost.discard(event.worker_id)
            count += 1
    return count


def ran_too_late(seen: Events, begun: Iterable[tuple[float, str]]) -> list[str]:
    """Hold the times (seconds since the epoch) at which tests say that they began against their final outcomes."""
    final = _final(seen)
    return [
        f"{name} ran after its final outcome was recorded"
        for at, name in begun
        if name in final and at > datetime.fromisoformat(final[name].at).timestamp() + _SAME_MOMENT_S
    ]


def attempts(seen: Events) -> list[str]:
    """Every attempt ends once, and a final outcome tells how many there were."""
    begun = Counter((e.task_id, e.attempt) for e in seen if isinstance(e, events.AttemptStarted))
    ended = Counter((e.task_id, e.attempt) for e in seen if isinstance(e, events.AttemptFinished))
    wrong = []
    for attempt in sorted(begun.keys() | ended.keys()):
        if (begun[attempt], ended[attempt]) != (1, 1):
            name, number = attempt
            wrong.append(f"attempt {number} of {name} began {begun[attempt]} times and ended {ended[attempt]} times")
    tries = Counter(name for name, _ in begun)
    wrong += [
        f"{name} tells of {final.attempts} attempts, and there were {tries[name]}"
        for name, final in _final(seen).items()
        if final.attempts != tries[name]
    ]
    return wrong


def reservations(seen: Events) -> list[str]:
    """At no time is more reserved on a worker than it has, and nothing at the end."""
    capacity: dict[str, Resources] = {}
    held: dict[str, dict[tuple[str, int], Resources]] = defaultdict(dict)
    wrong = []
    for event in seen:
        if isinstance(event, events.WorkerReady):
            capacity[event.worker_id] = event.capacity
        elif isinstance(event, events.AttemptStarted):
            here = held[event.worker_id]
            here[event.task_id, event.attempt] = event.reserved
            reserved = total(here.values())
            if event.worker_id not in capacity:
                wrong.append(f"{event.task_id} was started on {event.worker_id}, which was not there")
            elif lacking := reserved.lacking(capacity[event.worker_id]):
                wrong.append(f"{event.worker_id} had given out too much with {event.task_id}: {', '.join(lacking)}")
        elif isinstance(event, events.AttemptFinished):
            held[event.worker_id].pop((event.task_id, event.attempt), None)
    wrong += [f"{name} still reserves on {worker}" for worker, left in held.items() for name, _ in left]
    return wrong


def instances(seen: Events) -> list[str]:
    """Every machine that was asked for has gone by the end, or with the coordinator that had it."""
    there: set[str] = set()
    for event in seen:
        if isinstance(event, events.InstanceRequested):
            there.add(event.worker_id)
        elif isinstance(event, events.InstanceReleased | events.InstanceLost):
            there.discard(event.worker_id)
        elif isinstance(event, events.RunResumed):  # its local workers have ended with it, which is looked at outside
            there.clear()
    return [f"the machine of {worker} was neither released nor lost" for worker in sorted(there)]


def results(seen: Events, told: Results) -> list[str]:
    """Hold ``results.json`` against the events."""
    summary, other = summarise(seen), told.summary
    pairs = {
        "counts": (dict(other.counts), dict(summary.counts)),
        "attempts": (sum(test.attempts for test in other.tests), sum(test.attempts for test in summary.tests)),
        "flaky tests": (other.flaky, summary.flaky),
        "interruptions": (len(other.interruptions), len(summary.interruptions)),
        "tests": (other.collected, len(_final(seen))),
    }
    return [f"results.json has {a} {name}, the events {b}" for name, (a, b) in pairs.items() if a != b]


def times(seen: Events) -> list[str]:
    """The time of the run goes forward only, and no attempt took less than nothing or longer than the run."""
    wrong = [
        f"event {later.seq} is at {later.elapsed_s:g} s, before event {event.seq} at {event.elapsed_s:g} s"
        for event, later in pairwise(seen)
        if later.elapsed_s < event.elapsed_s
    ]
    whole_s = seen[-1].elapsed_s + 1.0 if seen else 0.0
    wrong += [
        f"attempt {event.attempt} of {event.task_id} took {event.usage.wall_s:g} s of a run of {whole_s - 1:.1f} s"
        for event in seen
        if isinstance(event, events.AttemptFinished) and not 0 <= event.usage.wall_s <= whole_s
    ]
    return wrong
