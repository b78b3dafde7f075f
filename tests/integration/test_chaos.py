"""When chaos strikes and when it makes good again: over Ray also after a lease has ended, and only at the end."""

from __future__ import annotations

import random

from benchmarks import run_checks
from benchmarks.chaos import Striker
from benchmarks.chaos_clusters import SHORT, TO_THE_END, Heal, LocalExecutors, Outage, Victim
from benchmarks.chaos_ray import RayHosts
from drm.engines.ray_engine.membership import Leases
from drm.model.events import Event, WorkerLost, WorkerReady
from drm.model.resources import Resources

VICTIMS = [Victim("m1", 1)]


class Struck:
    """Notes what was struck, and what was made good again."""

    def __init__(self) -> None:
        self.healed: list[str] = []

    def cut(self, victim: Victim) -> Heal:
        return lambda: self.healed.append(victim.worker_id)


def striker(outage: Outage, *, strikes: int = 1) -> tuple[Striker, Struck]:
    struck = Struck()
    return Striker(random.Random(1), {"cut": struck.cut}, [(0.0, "cut")] * strikes, outage=outage), struck


def test_a_fault_is_made_good_after_the_time_of_its_kind() -> None:
    made, struck = striker(Outage("some", 6.0, 6.0))
    for now_s, healed in ((100.0, []), (105.9, []), (106.1, ["m1"])):
        made.look(0.5, VICTIMS, now_s)
        assert struck.healed == healed
    assert made.healed == 1
    assert made.struck == ["cut m1 at 50% for 6.0 s"]


def test_of_those_that_last_to_the_end_there_is_one_only() -> None:
    made, struck = striker(TO_THE_END, strikes=2)
    for now_s in (0.0, 1.0, 100.0):
        made.look(0.5, VICTIMS, now_s)
    assert made.struck[0] == "cut m1 at 50% to the end"
    assert made.healed == 1, "the second one"
    made.heal()
    assert struck.healed == ["m1", "m1"]
    assert made.healed == 1, "what is made good at the end was not amid the run"


def test_over_ray_faults_last_beyond_every_lease() -> None:
    leases = Leases()
    lost_s = leases.lease_s + leases.margin_s
    spans = [(outage.least_s, outage.most_s) for outage in RayHosts.outages]
    assert any(most < leases.suspect_s + 0.1 for _, most in spans), "too short to mean anything"
    assert any(leases.suspect_s < least < leases.lease_s < most <= lost_s for least, most in spans)
    assert any(lost_s < least and most <= 20.0 for least, most in spans)
    assert TO_THE_END in RayHosts.outages
    assert LocalExecutors.outages == (SHORT,)


def test_workers_that_join_after_they_were_lost_are_counted() -> None:
    def ready(name: str) -> Event:
        has = Resources(cpu_cores=1)
        return WorkerReady(seq=1, at="", elapsed_s=0.0, worker_id=name, worker_type="t", capacity=has)

    def lost(name: str) -> Event:
        return WorkerLost(seq=1, at="", elapsed_s=0.0, worker_id=name, reason="silent", requeued=0)

    told = [ready("m1"), ready("m2"), lost("m1"), ready("m3"), ready("m1"), lost("m2"), ready("m1")]
    assert run_checks.back_again(told) == 1
