"""Five workloads of pushes: when each comes, how many tests it has, and how long these take.

Workers and their price are real: g6.xlarge of AWS (4 vCPUs, 16 GiB, one gpu) on demand in us-east-1, by the catalogue
that comes with DRM. A boot takes a minute, give or take a fifth of it. An hour by which a push is done sooner is worth
5 USD. Each test wants the gpu, so that one core is counted. What is known of a test is a run before, a fifth off.

A push takes some eight boots or longer with the workers that pay off. Who does not know when pushes come begins a boot
later than who does: with pushes that take no longer than a few boots nobody could be within 15 % of the time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drm.cloud_provider_manager.catalogue import built_in
from drm.simulator import Scenario, scenario_of

TYPE, ZONE = "g6.xlarge", "us-east-1a"
PRICE = built_in("aws").worker_types([TYPE], [ZONE], markets=["on-demand"])[0].usd_per_hour
BOOT_S, VALUE_OF_TIME, MOST = 60.0, 5.0, 600
FIRST_S = 120.0  # so that who knows the future can have workers ready for the first push
MEDIAN_S, SIGMA, ERROR = 30.0, 0.8, 0.2


@dataclass(frozen=True)
class Pushes:
    """``arrivals``: (seconds, tests). ``sigma``: the deviation of the logarithm of the seconds."""

    arrivals: tuple[tuple[float, int], ...]
    sigma: float = SIGMA
    median_s: float = MEDIAN_S


def _steady(chance: random.Random) -> Pushes:
    """Every twenty minutes about the same."""
    return Pushes(tuple((FIRST_S + 1200.0 * n, chance.randint(900, 1100)) for n in range(5)))


def _ramp(chance: random.Random) -> Pushes:
    """Each push is larger than the one before, five times as large at last."""
    return Pushes(tuple((FIRST_S + 1500.0 * n, round((400 + 400 * n) * chance.uniform(0.9, 1.1))) for n in range(5)))


def _spike(chance: random.Random) -> Pushes:
    """Small ones, and one ten times as large among them."""
    return Pushes(
        tuple((FIRST_S + 1200.0 * n, round((4000 if n == 2 else 400) * chance.uniform(0.9, 1.1))) for n in range(6))
    )


def _diurnal(chance: random.Random) -> Pushes:
    """A day of six hours: pushes by chance, often at noon and seldom at night; none within ten minutes of another."""
    day_s, at_s, found = 6 * 3600.0, FIRST_S, []
    while at_s < day_s:
        found.append((at_s, round(800 * chance.uniform(0.5, 1.5))))
        rate = (0.15 + 0.85 * math.sin(math.pi * at_s / day_s) ** 2) / 1200  # pushes a second
        at_s += 600.0 + chance.expovariate(rate)
    return Pushes(tuple(found))


def _long_tail(chance: random.Random) -> Pushes:
    """Most tests are short, and a few take as long as hundreds of them."""
    return Pushes(tuple((FIRST_S + 3000.0 * n, chance.randint(1000, 1200)) for n in range(3)), sigma=1.5, median_s=12.0)


MAKERS: Mapping[str, Callable[[random.Random], Pushes]] = {
    "steady": _steady,
    "ramp": _ramp,
    "spike": _spike,
    "diurnal": _diurnal,
    "long tail": _long_tail,
}


def pushes_of(name: str, seed: int) -> Pushes:
    return MAKERS[name](random.Random(f"{name} {seed}"))


def scenario(pushes: Pushes, seed: int, *, scaling: str, workers: str) -> Scenario:
    """Return the scenario of these pushes under a scaling policy, with so many workers."""
    data: dict[str, Any] = {
        "name": "scaling",
        "seed": seed,
        "workload": {
            "synthetic": {
                "classes": [
                    {"name": "gpu", "gpu": 1, "memory": "8GiB", "seconds": pushes.median_s, "sigma": pushes.sigma}
                ],
                "arrivals": [{"at": at_s, "tests": tests} for at_s, tests in pushes.arrivals],
            }
        },
        "workers": [
            {
                "name": TYPE,
                "cpu": 1,
                "memory": "16GiB",
                "gpu": 1,
                "price": PRICE,
                "start": BOOT_S,
                "jitter": 0.2,
                "count": workers,
            }
        ],
        "history": {"error": ERROR},
        "policies": {"scaling": scaling, "value_of_time": VALUE_OF_TIME},
        "sample": 600,
    }
    return scenario_of(data, where="scaling", folder=Path())
