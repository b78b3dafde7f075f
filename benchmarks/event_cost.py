"""Does an event cost more in a larger cluster? ``python -m benchmarks.event_cost [--few 20] [--many 400] [--json]``.

The scenario of a million tests with so many tests for each worker, on few workers and on many, in turn: processor time
of the whole coordinator per recorded event, the median of the rounds. With as many tests for each worker the events are
of the same kinds: with fewer, most would be samples of workers that do nothing, which cost little.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from drm.simulator import Simulation, read_scenario

_SCENARIO = Path(__file__).parent / "scenarios" / "million.yml"
_AS_LONG = 2  # rounds of the few take this part of those of the many, and there are more of them


def cost_us(workers: int, tests: int) -> float:
    """Return the microseconds of processor time per event."""
    changes = [f"workload.synthetic.tests={tests}", f"workers.cpu.count={workers}"]
    simulation = Simulation(read_scenario(_SCENARIO, changes))
    gc.collect()
    gc.disable()
    try:
        started = time.process_time()
        events = simulation.run().events
        return (time.process_time() - started) / events * 1e6
    finally:
        gc.enable()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.event_cost", description=__doc__.split(" ``")[0])
    parser.add_argument("--few", type=int, default=20, metavar="N", help="workers (default: 20)")
    parser.add_argument("--many", type=int, default=400, metavar="N", help="workers (default: 400)")
    parser.add_argument("--each", type=int, default=50, metavar="N", help="tests for each worker (default: 50)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    rounds = []
    for _ in range(given.rounds):
        runs = given.many // given.few // _AS_LONG
        few = fmean(cost_us(given.few, given.few * given.each) for _ in range(runs))
        many = cost_us(given.many, given.many * given.each)
        rounds.append({"few_us": few, "many_us": many, "of_the_few": many / few})
        print(f"{few:.1f} us with {given.few} workers, {many:.1f} us with {given.many}", file=sys.stderr)
    ratio = median(each["of_the_few"] for each in rounds)
    print(json.dumps({"rounds": rounds, "of_the_few": ratio}) if given.json else f"{ratio:.3f} times as much")
    return 0


if __name__ == "__main__":
    sys.exit(main())
