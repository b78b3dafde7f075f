"""The bad day: uneven suites run one after another under every fault there is; does everything add up afterwards?

    python -m benchmarks.soak [--minutes 30] [--seed N] [--json]

Runs on executors of this machine (1 to 6), on local workers, and on three machines over Ray, each a host of its own.
Executors, workers and controllers are killed and stopped, memory and disks run out, hosts are cut off, clocks step,
histories are damaged, providers fail. A run whose controller was killed goes on with ``drm run --resume``. What cannot
be done here is said, and skipped. Afterwards, of every run:

- every test has exactly one final outcome, the right one; the account, results.json, junit.xml and the record agree;
- every attempt ended, every reservation is free again, every machine has gone;
- no process, no folder, and no file outside the agreed places is left; the report opens; the history is whole;
- the controller of the longest runs has not grown but for the outcomes that it keeps.

One line for everything that is not so, with what repeats that run: ``--seed N --only RUN``. Then exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.chaos_clusters import Cluster, LocalExecutors, SocketCluster
from benchmarks.soak import checks
from benchmarks.soak.running import run_once
from benchmarks.soak.schedule import FAULTS, MODES, Plan, plan
from benchmarks.soak.under_way import Result

_TOLD = 8  # violations of one run
_OF_RAY = ("drm-*-ports-*.lock", "ray*")  # in the temp folder of the machines: agreed, and told in the docs


class _Places:
    """The clusters that runs need, each made once when it is first needed. ``why_not``: by mode, why it is not here."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._made: dict[str, Cluster] = {}
        self.why_not: dict[str, str] = {}

    def of(self, mode: str) -> Cluster | None:
        name = {"fork": "executors", "spawn": "executors"}.get(mode, mode)
        if mode not in self.why_not and name not in self._made:
            from benchmarks.chaos_ray import RayHosts

            kinds: dict[str, type[Cluster]] = {"executors": LocalExecutors, "workers": SocketCluster, "ray": RayHosts}
            cluster = kinds[name]()
            reason = cluster.why_not()
            if reason:
                self.why_not[mode] = reason
                print(f"soak: no runs over {mode}: {reason}", file=sys.stderr, flush=True)
            else:
                self._made[name] = self._stack.enter_context(cluster)
        return None if mode in self.why_not else self._made[name]


def soak(plans: Iterator[Plan], until_s: float, output: Path, base: Path) -> list[Result]:
    """Do one run after another until the time is over."""
    results: list[Result] = []
    with ExitStack() as stack:
        places = _Places(stack)
        for each in plans:
            if time.monotonic() > until_s:
                break
            cluster = places.of(each.mode)
            if cluster is None:
                results.append(Result(number=each.number, told=each.told, skipped=places.why_not[each.mode]))
                continue
            folder = base / f"r{each.number}"
            folder.mkdir()
            try:
                result = run_once(each, cluster, folder)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # the next may be well
                result = Result(number=each.number, told=each.told, wrong=[f"the soak itself failed: {error!r}"])
            _keep(result, folder / "project", output)
            shutil.rmtree(folder, ignore_errors=True)
            results.append(result)
            print(_line(result), file=sys.stderr, flush=True)
    return results


def _line(result: Result) -> str:
    if result.skipped:
        return f"run {result.number}: {result.told}: skipped: {result.skipped}"
    happened = ", ".join(result.struck) or "nothing struck"
    resumed = f", resumed {result.resumed} times" if result.resumed else ""
    told = f"{len(result.wrong)} violations: {'; '.join(result.wrong[:2])}" if result.wrong else "well"
    return f"run {result.number}: {result.told}: {happened}{resumed}: {result.wall_s:.1f} s: {told}"


def _keep(result: Result, project: Path, output: Path) -> None:
    """Keep the last report, and all of a run that went wrong, with what the machines said."""
    page = project / "reports" / "report.html"
    output.mkdir(parents=True, exist_ok=True)
    if page.exists() and not result.wrong:
        shutil.copy(page, output / "last.html")
    if result.wrong:
        into = output / f"run{result.number}"
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(project, into, symlinks=True)
        for log in Path(tempfile.gettempdir()).glob("chaos-*/*.log"):  # what machines over Ray have said
            shutil.copy(log, into)


def figures(results: Sequence[Result], seed: int) -> dict[str, Any]:
    """Return what all runs came to."""
    ran = [result for result in results if not result.skipped]
    kinds = Counter(name.partition(" at ")[0].rpartition(" ")[0] for result in ran for name in result.struck)
    kinds.update(name for result in ran for name in result.surroundings if not FAULTS[name].strikes)
    slopes = [round(result.slope) for result in ran if result.slope is not None]
    return {
        "seed": seed,
        "runs": len(ran),
        "runs_by_mode": dict(Counter(result.told.partition(",")[0] for result in ran)),
        "skipped": dict(Counter(result.skipped for result in results if result.skipped)),
        "tests": sum(result.tests for result in ran),
        "attempts": sum(result.attempts for result in ran),
        "attempts_lost": sum(result.attempts_lost for result in ran),
        "workers_lost": sum(result.workers_lost for result in ran),
        "tests_ended_by_a_fault": sum(result.given_up for result in ran),
        "provider_faults": sum(result.provider_faults for result in ran),
        "histories_set_aside": sum(result.histories_set_aside for result in ran),
        "controllers_killed": sum(result.resumed for result in ran),
        "faults": dict(sorted(kinds.items())),
        "controller_bytes_per_test": slopes,
        "pytest_bytes_per_test": [round(result.pytest_slope) for result in ran if result.pytest_slope is not None],
        "controller_most_mib": max((max(rss for _, rss in r.rss) >> 20 for r in ran if r.rss), default=None),
        "notes": dict(Counter(note for result in ran for note in result.notes)),
        "violations": sum(len(result.wrong) for result in ran),
    }


def violations(results: Sequence[Result], seed: int) -> list[str]:
    """Return a line for everything that is not so, with what repeats it."""
    return [
        f"run {result.number}, seed {seed} ({result.told}; {', '.join(result.struck)}): {line}; "
        f"again: python -m benchmarks.soak --seed {seed} --only {result.number}"
        for result in results
        for line in [*result.wrong[:_TOLD], *([f"and {len(result.wrong) - _TOLD} more"] * (len(result.wrong) > _TOLD))]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, action="append", default=[], metavar="RUN", help="this run; again for more")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="skip runs of other kinds")
    parser.add_argument("--list", action="store_true", help="print what the first 100 runs are, and run none")
    parser.add_argument("--output", type=Path, default=Path("reports/soak"), help="where runs that went wrong are kept")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    numbers = given.only or (range(100) if given.list else count())
    plans = (each for each in (plan(given.seed, number) for number in numbers) if each.mode in given.modes)
    if given.list:
        for each in plans:
            print(f"run {each.number}: {each.told}")
        return 0
    output = given.output.absolute()
    until_s = float("inf") if given.only else time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory(prefix="k", dir="/tmp", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        temp, home = base / "t", base / "home"
        saved = {name: os.environ.get(name) for name in ("TMPDIR", "HOME")}
        for name, path in (("TMPDIR", temp), ("HOME", home)):
            path.mkdir()
            os.environ[name] = str(path)
        tempfile.tempdir = None  # to be asked for again
        before = list(Path("/tmp").glob("drm-*"))
        try:
            results = soak(plans, until_s, output, base)
            others = [*checks.folders_of_ray(before), *checks.files(temp, (), _OF_RAY), *checks.files(home, (), ())]
        finally:
            for name, value in saved.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
            tempfile.tempdir = None
    found = [*violations(results, given.seed), *others]
    page = output / "last.html"
    if page.exists():
        wrong, browser = checks.opened(page)
        found += [*checks.page(page), *wrong]
    else:
        browser = "there is no report"
    told = {**figures(results, given.seed), "last_report": browser, "violations": len(found)}
    if given.json:
        print(json.dumps({"summary": told, "violations": found, "runs": [asdict(result) for result in results]}))
    else:
        for name, value in told.items():
            print(f"{name.replace('_', ' '):28} {value}")
        print("\n".join(found) or "nothing is wrong")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
