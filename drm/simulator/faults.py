"""What goes wrong in a simulated run. By chance, but the same for a seed, whatever the order of things."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b

from drm.model.cluster import WorkerType
from drm.model.work import Outcome
from drm.simulator.acts import Act, Machine
from drm.simulator.scenario import Scenario

__all__ = ["Happenings"]


class Happenings:
    """Implements ``Script`` by ``attempt``, and says by ``machine`` what instances do."""

    def __init__(self, scenario: Scenario, acts: Mapping[str, Act]) -> None:
        self._seed = scenario.seed
        self._faults = scenario.faults
        self._specs = {spec.worker_type.name: spec for spec in scenario.workers}
        self._acts = acts

    def attempt(self, task_id: str, attempt: int) -> Act:
        act = self._acts[task_id]
        faults = self._faults
        if not faults.of_attempts:
            return act
        if self._chance(task_id, attempt, "slow") < faults.stragglers:
            act = replace(act, seconds=act.seconds * faults.straggler_factor)
        if self._chance(task_id, attempt, "crash") < faults.crashes:
            return replace(act, signal="SIGSEGV", at_share=self._chance(task_id, attempt, "when"))
        if self._chance(task_id, attempt, "fail") < faults.failures:
            return replace(act, outcome=Outcome.FAILED, message="a failure that the scenario asks for")
        return act

    def machine(self, worker_id: str, worker_type: WorkerType) -> Machine:
        spec, faults = self._specs[worker_type.name], self._faults
        if self._chance(worker_id, 0, "start") < faults.start_failures:
            return Machine(start_s=None)
        spread = spec.jitter * (2 * self._chance(worker_id, 0, "jitter") - 1)
        lives_s = None
        if faults.worker_life_s is not None:
            lives_s = -faults.worker_life_s * math.log(1 - self._chance(worker_id, 0, "life"))
        return Machine(start_s=spec.start_s * (1 + spread), lives_s=lives_s)

    def _chance(self, name: str, attempt: int, what: str) -> float:
        """Return a number from 0 to 1 (never 1), the same for the same words on every machine."""
        text = f"{self._seed}/{what}/{attempt}/{name}".encode("utf-8", "backslashreplace")
        return int.from_bytes(blake2b(text, digest_size=6).digest(), "big") / 2**48
