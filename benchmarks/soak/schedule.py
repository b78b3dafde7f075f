"""What befalls which run: a run's number and the seed say it all, on every machine. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.soak.suites import MARATHON, SUITES

__all__ = ["FAULTS", "MODES", "Fault", "Plan", "plan"]

MODES = ("fork", "spawn", "workers", "ray")
_HERE = ("fork", "spawn", "workers")
_ONE_MACHINE = ("fork", "spawn")
_MARATHON_EACH = 40  # runs
_ALONE = ("full disk under the reports", "full disk under temp")  # what they break others would need


@dataclass(frozen=True)
class Fault:
    """``strikes``: it comes amid the run, when a share of the tests has ended. ``surrounds``: it is there all along.

    A fault may be both: a disk is there from the start, and full from some moment on. ``suites``: those in which it
    means anything.
    """

    modes: tuple[str, ...]
    strikes: bool = True
    surrounds: bool = False
    suites: tuple[str, ...] = tuple(SUITES)


FAULTS: Mapping[str, Fault] = {
    # of what runs tests
    "kill": Fault(MODES),
    "stop": Fault(_HERE),
    "pause": Fault(_HERE),
    "freeze": Fault(("workers", "ray")),
    "zygote": Fault(("workers",)),
    "power": Fault(("ray",)),
    "partition": Fault(("ray",)),
    "agent": Fault(("ray",)),
    # of the controller
    "controller": Fault(MODES),
    # of what is around the run
    "memory cgroup": Fault(_HERE, strikes=False, surrounds=True, suites=("memory",)),
    "little memory": Fault(_ONE_MACHINE, strikes=False, surrounds=True, suites=("memory",)),
    "full disk under the reports": Fault(_HERE, surrounds=True),
    "full disk under temp": Fault(_HERE, surrounds=True, suites=("noops", "cpu", "locks", "random", "public")),
    "full disk under the history": Fault(_HERE, surrounds=True),
    "clock back": Fault(MODES, surrounds=True),
    "clock forward": Fault(MODES, surrounds=True),
    "history truncated": Fault(MODES, strikes=False, surrounds=True, suites=("noops", "cpu", "locks", "random")),
    "history garbled": Fault(MODES, strikes=False, surrounds=True, suites=("noops", "cpu", "locks", "random")),
    "history damaged amid it": Fault(MODES),
    "provider": Fault(("workers",), strikes=False, surrounds=True),
}


@dataclass(frozen=True)
class Plan:
    """A run as it is meant to be. ``strikes``: at which share of ended tests which fault comes."""

    seed: int
    number: int
    mode: str
    suite: str
    strikes: tuple[tuple[float, str], ...]
    surroundings: tuple[str, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.surroundings, *(name for _, name in self.strikes))))

    @property
    def told(self) -> str:
        return f"{self.mode}, {self.suite}, {' + '.join(self.faults) or 'no fault'}"

    def chance(self, what: str) -> random.Random:
        """Return the chance of one thing in this run: another one draws nothing from it."""
        return random.Random(f"{self.seed}/{self.number}/{what}")


def plan(seed: int, number: int) -> Plan:
    """Return a run. Every fault is the first of one run in as many as there are; often another one comes with it."""
    if number % _MARATHON_EACH == 0:
        return _marathon(seed, number)
    turn, place = divmod(number - number // _MARATHON_EACH - 1, len(FAULTS))
    deck = random.Random(f"{seed}/deck/{turn}").sample(sorted(FAULTS), len(FAULTS))
    chance = random.Random(f"{seed}/{number}")
    names = [deck[place]]
    mode = chance.choice(FAULTS[names[0]].modes)
    suites = FAULTS[names[0]].suites
    if names[0] not in _ALONE:
        for _ in range(chance.choice((0, 0, 1, 1, 2))):
            names += _another(chance, names, mode, suites)
            suites = tuple(suite for suite in suites if suite in FAULTS[names[-1]].suites)
    strikes = [(round(chance.uniform(0.05, 0.85), 3), name) for name in names if FAULTS[name].strikes]
    return Plan(
        seed=seed,
        number=number,
        mode=mode,
        suite=chance.choice(suites),
        strikes=tuple(sorted(strikes)),
        surroundings=tuple(name for name in names if FAULTS[name].surrounds),
    )


def _another(chance: random.Random, names: list[str], mode: str, suites: tuple[str, ...]) -> list[str]:
    """Return a fault that may come with those, in this mode; one that strikes may come twice."""
    surrounded = any(FAULTS[name].surrounds for name in names)
    may = [
        name
        for name, fault in sorted(FAULTS.items())
        if mode in fault.modes
        and name not in _ALONE
        and not (fault.surrounds and surrounded)
        and set(fault.suites) & set(suites)
    ]
    return [chance.choice(may)]


def _marathon(seed: int, number: int) -> Plan:
    """A long run, now and then struck, by which the memory of the controller is judged."""
    mode = ("fork", "workers")[number // _MARATHON_EACH % 2]
    strikes = tuple((share, "kill") for share in (0.2, 0.4, 0.6, 0.8))
    return Plan(seed=seed, number=number, mode=mode, suite=MARATHON, strikes=strikes, surroundings=())
