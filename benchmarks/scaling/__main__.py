"""Does scaling pay off? Five workloads in virtual time, against who knows the future and against what others do.

    python -m benchmarks.scaling [--seeds 1 2 3] [--workloads steady ...] [--jobs N] [--json]

*cost* is what all workers cost, boots included; *makespan* is the mean over the pushes of the time from a push to
the end of its last test. Both are given as ratios:

- to the clairvoyant planner (``clairvoyant``), which knows all durations and arrivals;
- of a pool of fixed size to ours: as large as is 70 % full with the work of the whole run, which nobody knows before;
- of plain utilization thresholds (target 0.7, up 0.8, down 0.3, a window of 5 minutes) to ours.

Exit code 1 where one of the promises below is not kept.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import sys
from dataclasses import asdict, dataclass

from benchmarks.scaling.clairvoyant import Plan, best_plan
from benchmarks.scaling.workloads import BOOT_S, MAKERS, MOST, PRICE, VALUE_OF_TIME, Pushes, pushes_of, scenario
from drm.simulator import Result, Simulation

MOST_RATIO = 1.15
_FULL = 0.7


@dataclass(frozen=True)
class Row:
    """``ours_*``: cost and makespan over the clairvoyant planner's; the others: theirs over ours."""

    workload: str
    seed: int
    ours_cost: float
    ours_makespan: float
    fixed_cost: float
    fixed_makespan: float
    thresholds_cost: float
    thresholds_makespan: float
    fixed_workers: int
    plan_over_bound: float

    @property
    def kept(self) -> bool:
        return (
            max(self.ours_cost, self.ours_makespan) <= MOST_RATIO
            and min(self.fixed_cost, self.fixed_makespan, self.thresholds_cost, self.thresholds_makespan) > 1
        )


def measure(job: tuple[str, int]) -> Row:
    """Run one workload with each policy."""
    name, seed = job
    pushes = pushes_of(name, seed)
    sparing = f"makespan,target_queue=1s,boot={BOOT_S:g}s"
    ours, plan = _run(pushes, seed, scaling=sparing, workers=f"0..{MOST}")
    fixed_size = _fixed_size(pushes, seed)
    fixed, _ = _run(pushes, seed, scaling=sparing, workers=str(fixed_size))
    thresholds, _ = _run(pushes, seed, scaling="utilization", workers=f"0..{MOST}")
    return Row(
        workload=name,
        seed=seed,
        ours_cost=ours.cost_usd / plan.cost_usd,
        ours_makespan=_makespan(ours) / statistics.mean(plan.makespans_s),
        fixed_cost=fixed.cost_usd / ours.cost_usd,
        fixed_makespan=_makespan(fixed) / _makespan(ours),
        thresholds_cost=thresholds.cost_usd / ours.cost_usd,
        thresholds_makespan=_makespan(thresholds) / _makespan(ours),
        fixed_workers=fixed_size,
        plan_over_bound=plan.value_usd / plan.bound_usd,
    )


def _makespan(result: Result) -> float:
    assert not result.problem, result.problem
    return statistics.mean(seconds for _, seconds in result.arrivals)


def _run(pushes: Pushes, seed: int, *, scaling: str, workers: str) -> tuple[Result, Plan]:
    simulation = Simulation(scenario(pushes, seed, scaling=scaling, workers=workers))
    acts = simulation.workload.acts
    known = [(at_s, [acts[task.task_id].seconds for task in tasks]) for at_s, tasks in simulation.workload.groups()]
    plan = best_plan(known, price=PRICE, boot_s=BOOT_S, value_of_time=VALUE_OF_TIME, most=MOST)
    return simulation.run(), plan


def _fixed_size(pushes: Pushes, seed: int) -> int:
    """Return how many workers are 70 % full from the first push until a push's time after the last."""
    workload = Simulation(scenario(pushes, seed, scaling="makespan", workers="1")).workload
    work_s = sum(act.seconds for act in workload.acts.values())
    times = [at_s for at_s, _ in pushes.arrivals]
    span_s = (times[-1] - times[0]) * len(times) / (len(times) - 1)
    return math.ceil(work_s / (_FULL * span_s))


def _line(row: Row) -> str:
    return (
        f"{row.workload:10} seed {row.seed}: cost {row.ours_cost:.3f}x, makespan {row.ours_makespan:.3f}x of the "
        f"planner ({row.plan_over_bound:.3f}x of the bound); {row.fixed_workers} fixed workers {row.fixed_cost:.2f}x, "
        f"{row.fixed_makespan:.2f}x of ours; thresholds {row.thresholds_cost:.2f}x, {row.thresholds_makespan:.2f}x"
        f"{'' if row.kept else '   <- NOT KEPT'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--workloads", nargs="+", choices=tuple(MAKERS), default=list(MAKERS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    jobs = [(name, seed) for name in options.workloads for seed in options.seeds]
    rows = []
    with multiprocessing.Pool(options.jobs) as pool:
        for row in pool.imap(measure, jobs):
            rows.append(row)
            if not options.json:
                print(_line(row), flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
