"""What a cluster takes: ``python -m benchmarks.cluster [--hosts 3] [--json]``.

Hosts are network namespaces with a bridge between them where root allows, else processes on the loopback address.
Measured are the time from an order to what comes back of it; the processor time of a no-op test against the embedded
engine's, with all that runs on the machines and in ``drm coordinator``; what ``drm run`` takes while its only test
sleeps; how soon after its start a new machine has ended a test; how soon tests of one that was killed run elsewhere.
Each but the first is the median of ``--rounds``. Times depend on the machine, and on what else it does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.engine import make_noop_suite
from benchmarks.hosts import Hosts, why_not
from benchmarks.processes import measure
from benchmarks.ray_cluster import ClusterRun, RayCluster, ray_cluster
from drm.model.events import AttemptFinished, AttemptStarted
from drm.worker.linux import descendants_of

BARS = {
    "order to event, p50 (ms)": ("<", 5.0),
    "order to event, p99 (ms)": ("<", 15.0),
    "tests per cpu second, of the embedded engine's": (">", 0.7),
    "controller while idle, of a core": ("<", 0.02),
    "a new machine's first result (s)": ("<", 12.0),
    "tests of a killed machine run elsewhere (s)": ("<", 6.0),
}
_ORDERS, _SETTLE_S, _IDLE_S = 1000, 5.0, 10.0
# Short enough that an executor is soon free for what a killed machine ran, and so many that a new one has some left.
_SLEEPING = "import time, pytest\n@pytest.mark.parametrize('n', range(900))\ndef test_waits(n): time.sleep(1)\n"
_IDLE = f"import time\ndef test_sleeps(): time.sleep({_SETTLE_S + 2 * _IDLE_S})\n"
_LOOK_S = 0.1
_HZ = os.sysconf("SC_CLK_TCK")
_ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
_PATIENCE_S = 120.0


# -- on the coordinator's host


def inside(address: str, folder: Path) -> dict[str, Any]:
    """Measure the engine alone: orders that come back. Runs where the coordinator is."""
    from drm.engines.ray_engine.engine import RayEngine
    from drm.engines.ray_engine.state import CoordinatorState
    from drm.model import observations as seen
    from drm.worker.suite import Suite

    suite = Suite(
        args=("-q", "-p", "no:cacheprovider"),
        cwd=str(folder),
        sys_path=tuple(sys.path),
        run_id="benchmark",
        executor_count=1,
        basetemp=str(folder / "temp"),
    )
    engine = RayEngine(suite=suite, state=CoordinatorState.of(address), say=lambda line: print(line, file=sys.stderr))
    pending: list[Any] = []

    def wait(kind: type[Any]) -> Any:
        """Return the next observation of a kind; those before it are forgotten, those after it are kept."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            while pending:
                found = pending.pop(0)
                if isinstance(found, kind):
                    return found
            pending.extend(engine.poll(0.25))
        raise RuntimeError(f"no {kind.__name__} came")

    engine.start()
    try:
        worker = wait(seen.WorkerJoined).worker_id
        engine.spawn(worker, "gw0")
        wait(seen.ExecutorReady)
        took = []
        for number in range(_ORDERS):
            started = time.perf_counter()
            task = (f"test_noop_0000.py::test_{number % 100}", 1)
            engine.send(worker, "gw0", [task], None, 5.0, (), 1.0)
            wait(seen.AttemptBegan)
            took.append((time.perf_counter() - started) * 1000)
            wait(seen.BatchEnded)
        return {"took": took}
    finally:
        engine.close()


# -- from outside


def cpu_of(pids: Sequence[int]) -> dict[int, float]:
    """Return the processor seconds of processes and of all below them, of each."""
    found = {}
    for pid in [below for each in pids for below in (each, *descendants_of(each))]:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            found[pid] = (int(fields[11]) + int(fields[12])) / _HZ
    return found


@contextmanager
def watched(pids: Sequence[int]) -> Iterator[dict[int, float]]:
    """Give what processes and all below them take meanwhile, of each; it is whole when it is left.

    They are looked at again and again: Ray does not wait for its children, so nobody keeps the times of those that end.
    """
    before, seen, over = cpu_of(pids), dict[int, float](), threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            seen.update({pid: took - before.get(pid, 0.0) for pid, took in cpu_of(pids).items()})

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def on_head(cluster: RayCluster, *words: str) -> str:
    host = cluster.hosts[0] if cluster.hosts is not None else None
    command = [sys.executable, "-m", *words]
    if host is not None:
        done = host.run(command, env=cluster.environment, timeout=600)
    else:
        environment = {**os.environ, **cluster.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout


def throughput(cluster: RayCluster, folder: Path, tests: int, agents: int) -> float:
    """Return the no-op tests per processor second on the cluster, as a part of the embedded engine's."""
    options = ("--drm-no-report", f"--drm-report-dir={folder}/record", "-q", "-p", "no:cacheprovider", str(folder))
    parts = [[cluster.coordinator.pid], [process.pid for process in cluster.machines.values()]]
    embedded = [sys.executable, "-m", "drm", "run", "--drm-executors", str(agents), *options]
    env = os.environ | {**cluster.environment}
    before = dict(os.environ)
    os.environ.update(env)
    try:
        mine = measure(embedded, folder, sample=False).cpu_s
        host = cluster.hosts[0] if cluster.hosts is not None else None
        command = [sys.executable, "-m", "drm", "run", "--coordinator", cluster.address, *options]
        with watched(parts[0]) as of_head, watched(parts[1]) as of_machines:
            theirs = measure(host.command(command) if host is not None else command, folder, sample=False).cpu_s
            time.sleep(1.0)
    finally:
        os.environ.clear()
        os.environ.update(before)
    head, machines = sum(of_head.values()), sum(of_machines.values())
    told = f"drm run {theirs:.1f}, coordinator {head:.1f}, machines {machines:.1f}"
    print(f"{tests} tests, cpu s: embedded {mine:.1f}, cluster: {told}", file=sys.stderr)
    return mine / (theirs + head + machines)


def idle(cluster: RayCluster, folder: Path) -> float:
    """Return what part of a core ``drm run`` takes while its only test sleeps on one of the machines."""
    run = begin(cluster, folder, _IDLE)
    run.wait(lambda: run.of(AttemptStarted), _PATIENCE_S)
    time.sleep(_SETTLE_S)  # the other machines tell what they have collected
    with watched([run.process.pid]) as took:
        time.sleep(_IDLE_S)
    if run.process.poll() is not None or run.of(AttemptFinished):
        raise RuntimeError(f"the run was not idle: {cluster.said('run')[-2000:]}")
    run.close()
    return sum(took.values()) / _IDLE_S


def killed(cluster: RayCluster, folder: Path, victim: str, rounds: int) -> tuple[float, float]:
    """Return after how many seconds a new machine had ended a test, and the tests of a killed one ran elsewhere.

    A round kills a machine, and adds one in its place, which the next one kills.
    """
    run = begin(cluster, folder / "killed", _SLEEPING)
    names = [victim, *(f"added{number}" for number in range(rounds))]
    took = [replaced(run, old, new) for old, new in pairwise(names)]
    run.close()  # the rest tells nothing more
    print(f"first results and second attempts: {took}", file=sys.stderr)
    firsts, elsewhere = zip(*took, strict=True)
    return statistics.median(firsts), statistics.median(elsewhere)


def replaced(run: ClusterRun, victim: str, new: str) -> tuple[float, float]:
    """Kill a machine amid a test and add a new one; return the seconds to its first result, and to a second attempt."""
    run.wait(lambda: run.under_way(victim), _PATIENCE_S)
    kill_at = time.time()
    run.cluster.kill_machine(victim)
    again = run.wait(
        lambda: [event for event in run.of(AttemptStarted) if event.attempt == 2 and at(event) > kill_at], _PATIENCE_S
    )
    added_at = time.time()
    last = len(run.cluster.hosts) - 1 if run.cluster.hosts else 0
    run.cluster.add(new, "--cpus", "1", "--memory", "1GiB", host=last)
    results = run.wait(
        lambda: [event for event in run.of(AttemptFinished) if event.worker_id == new and event.outcome], _PATIENCE_S
    )
    return at(results[0]) - added_at, at(again[0]) - kill_at


def at(event: AttemptStarted | AttemptFinished) -> float:
    """Return when it was, in seconds since the epoch."""
    return datetime.fromisoformat(event.at).timestamp()


def begin(cluster: RayCluster, folder: Path, suite: str) -> ClusterRun:
    """Begin a run of one test file."""
    folder.mkdir()
    (folder / "test_it.py").write_text(suite, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return ClusterRun(cluster, folder, folder / "record", "--drm-no-report")


def figures(hosts: Hosts | None, folder: Path, tests: int, agents: int, rounds: int) -> dict[str, float]:
    (folder / "cluster").mkdir()
    suite = folder / "suite"
    suite.mkdir()
    make_noop_suite(suite, tests)
    (suite / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    with ray_cluster(folder / "cluster", hosts) as cluster:
        cluster.environment = {**cluster.environment, **_ENVIRONMENT}
        names = [f"m{number}" for number in range(agents)]
        for number, name in enumerate(names):
            cluster.add(name, "--cpus", "1", "--memory", "2GiB", host=number % len(hosts) if hosts else 0)
        cluster.wait_joined(*names)
        alone = json.loads(
            on_head(cluster, "benchmarks.cluster", "--inside", cluster.address, str(suite)).splitlines()[-1]
        )
        took = sorted(alone["took"])
        ratios = [throughput(cluster, suite, tests, agents) for _ in range(rounds)]
        idles = [idle(cluster, folder / f"idle{number}") for number in range(rounds)]
        print(f"orders p50 {took[len(took) // 2]:.2f} ms; idle {idles} of a core", file=sys.stderr)
        first, elsewhere = killed(cluster, folder, names[-1], rounds)
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    values = (p50, p99, statistics.median(ratios), statistics.median(idles), first, elsewhere)
    return dict(zip(BARS, values, strict=True))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--hosts", type=int, default=3, metavar="N", help="how many hosts, with a machine each")
    parser.add_argument("--tests", type=int, default=10_000, metavar="N", help="no-op tests (default: 10000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of which the median is told (default: 3)")
    parser.add_argument("--loopback", action="store_true", help="processes on one address instead of namespaces")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--inside", nargs=2, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside is not None:
        print(json.dumps(inside(options.inside[0], Path(options.inside[1]))))
        return 0
    with ExitStack() as stack:
        hosts = None if options.loopback or why_not() else stack.enter_context(Hosts(options.hosts))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drm-cluster-")))
        where = "loopback" if hosts is None else "namespaces"
        found = figures(hosts, folder, options.tests, options.hosts, options.rounds)
    missed = [name for name, value in found.items() if (value >= BARS[name][1]) is (BARS[name][0] == "<")]
    if options.json:
        print(json.dumps({"hosts": where, "figures": found, "missed": missed}))
    else:
        print(f"{options.hosts} hosts ({where})")
        for name, value in found.items():
            sign, bar = BARS[name]
            print(f"{name:50} {value:8.3f}   {sign} {bar:g}{'   missed' if name in missed else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
