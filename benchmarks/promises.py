"""What is promised: each figure with its limit, and the command that measures it. ``everything.py`` runs them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["MEASUREMENTS", "Figure", "Measurement", "rows_in"]

_PEERS = "serial,load,drm"


@dataclass(frozen=True)
class Figure:
    """``find`` takes what the command printed, as JSON; the promise is kept up to ``most`` or from ``least`` on."""

    what: str
    find: Callable[[Any], float]
    most: float | None = None
    least: float | None = None
    unit: str = "x"

    @property
    def promise(self) -> str:
        limit = f"at most {self.most:g}" if self.most is not None else f"at least {self.least:g}"
        return f"{limit} {self.unit}"

    def is_kept(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(frozen=True)
class Measurement:
    """A command, as words after ``python -m``, and the figures in what it prints.

    ``data``: a folder it needs. ``reads``: a file of ``DRM_STAGE_FOLDER`` in which the figures are instead.
    ``is_timed``: nothing else may run meanwhile.
    """

    command: tuple[str, ...]
    figures: tuple[Figure, ...]
    data: str = ""
    reads: str = ""
    is_timed: bool = True


def rows_in(told: Any) -> list[Any]:
    """Return the rows that a command printed: one of them is a document of its own."""
    return told if isinstance(told, list) else [told]


def _ratio(pair: str, name: str) -> Callable[[Any], float]:
    return lambda told: float(told["ratios"][f"drm/{pair}"][name])


def _of_best(name: str) -> Callable[[Any], float]:
    """Return ours over that of the fastest mode of pytest-xdist."""

    def find(told: Any) -> float:
        modes = [mode for mode in told["figures"] if mode not in ("serial", "drm")]
        walls = {mode: statistics.median(row["wall_s"] for row in told["figures"][mode]) for mode in modes}
        return float(told["ratios"][f"drm/{min(walls, key=walls.__getitem__)}"][name])

    return find


def _differing(told: Any) -> float:
    return float(len(told["different_outcomes"]["drm"]))


def _row(key: str, name: str, value: str) -> Callable[[Any], float]:
    """Return a value of the line of JSON in which ``key`` is ``name``."""
    return lambda told: float(next(row for row in rows_in(told) if row[key] == name)[value])


def _bench(name: str, key: str = "min_s") -> Callable[[Any], float]:
    """Return a figure of a benchmark of the ``performance`` stage: its least seconds, or what it counted."""

    def find(told: Any) -> float:
        row = next(row for row in told["benchmarks"] if row["name"] == name)
        return float(row[key] if key in row else row["extra"][key])

    return find


def _told(name: str) -> Callable[[Any], float]:
    return lambda told: float(rows_in(told)[-1][name])


def _of_cluster(name: str) -> Callable[[Any], float]:
    return lambda told: float(told["figures"][name])


def _engine(what: str, *arguments: str, figures: Sequence[Figure]) -> Measurement:
    same = Figure("outcomes that differ from serial pytest's", _differing, most=0, unit="tests")
    named = tuple(
        Figure(f"{what}: {figure.what}", figure.find, figure.most, figure.least, figure.unit)
        for figure in (*figures, same)
    )
    return Measurement(("benchmarks.engine", "--json", *arguments), named)


_NOOP = (
    Figure("wall, of pytest-xdist's", _ratio("load", "wall"), most=0.45),
    Figure("wall, of serial pytest's", _ratio("serial", "wall"), most=0.65),
)
_WALL = Figure("wall, of pytest-xdist's best mode", _of_best("wall"), most=1.0)

MEASUREMENTS: tuple[Measurement, ...] = (
    _engine("5,000 empty tests", "--noop", "5000", "--modes", _PEERS, figures=_NOOP),
    _engine("20,000 empty tests", "--noop", "20000", "--rounds", "1", "--modes", _PEERS, figures=_NOOP),
    _engine(
        "networkx",
        *("--rounds", "1", "--suite", "--pyargs", "networkx"),
        figures=(
            Figure("wall, of pytest-xdist's best mode", _of_best("wall"), most=0.77),
            Figure("cpu, of serial pytest's", _ratio("serial", "cpu"), most=1.05),
            Figure("memory, of pytest-xdist's best mode", _of_best("memory"), most=0.7),
        ),
    ),
    _engine(
        "networkx collected for 8 executors",
        *("--executors", "8", "--rounds", "1", "--modes", _PEERS, "--suite", "--pyargs", "networkx", "-k", "test_dag"),
        figures=(
            Figure("cpu, of serial pytest's", _ratio("serial", "cpu"), most=1.3),
            Figure("memory, of serial pytest's", _ratio("serial", "memory"), most=1.6),
        ),
    ),
    _engine(
        "scikit-learn linear_model", "--rounds", "1", "--suite", "--pyargs", "sklearn.linear_model", figures=[_WALL]
    ),
    _engine(
        "numpy lib, linalg, ma, random",
        *("--rounds", "1", "--suite", "--pyargs", "numpy.lib", "numpy.linalg", "numpy.ma", "numpy.random"),
        figures=(_WALL, Figure("memory, of serial pytest's", _ratio("serial", "memory"), most=1.15)),
    ),
    _engine(
        "numpy, where DRM may give out 5 GiB",
        *("--within", "5GiB", "--rounds", "1", "--modes", "serial,drm"),
        *("--suite", "--pyargs", "numpy.lib", "numpy.linalg", "numpy.ma", "numpy.random"),
        figures=(
            Figure("wall, of serial pytest's", _ratio("serial", "wall"), most=1.0),
            Figure("memory, of serial pytest's", _ratio("serial", "memory"), most=1.15),
        ),
    ),
    Measurement(
        ("benchmarks.skewed", "--json"),
        (
            Figure(
                "few long tests among 200: makespan, of longest-first's, worst of six",
                lambda rows: max(row["drm"] for row in rows),
                most=1.05,
            ),
        ),
    ),
    Measurement(
        ("benchmarks.memory_limit", "--json"),
        (
            Figure(
                "68 tests in 450 MB: false failures and tests not run",
                lambda told: sum(run["failed"] + run["unrun"] for name in told if "drm" in name for run in told[name]),
                most=0,
                unit="tests",
            ),
        ),
    ),
    Measurement(
        ("pytest", "benchmarks", "-q", "-p", "no:cacheprovider", "-p", "no:drm"),
        reads="benchmark.json",
        figures=(
            *(
                Figure(
                    f"a million tasks on 10,000 workers, {what}",
                    _bench(f"test_allocate_a_million[{n}]"),
                    most,
                    unit="s",
                )
                for n, what, most in (
                    (1200, "1,200 classes", 0.7),
                    (8000, "8,000 classes", 3.0),
                    (0, "all distinct", 1.6),
                )
            ),
            *(
                Figure("the same: memory", _bench(f"test_allocate_a_million[{n}]", "peak_rss_mb"), most=350, unit="MB")
                for n in (1200, 8000, 0)
            ),
            Figure(
                "100,000 tasks on 1,000 workers",
                _bench("test_allocate_36_classes[100000-1000-0.985]"),
                most=0.4,
                unit="s",
            ),
            *(
                Figure(
                    f"one test, {workers} workers{what}: {share}", _bench(f"{name}[{workers}]", key), most, unit="us"
                )
                for name, what in (("test_online_event", ""), ("test_online_event_with_gpus", ", some with gpus"))
                for workers, p50, p99 in ((1000, 12, 30), (10_000, 25, 100))
                for share, key, most in (("median", "event_p50_us", p50), ("99 %", "event_p99_us", p99))
            ),
            *(
                Figure(
                    f"{tasks} tasks that just fit: placed",
                    _bench(f"test_planted_perfect_instance[{tasks}-100-{least}]", "placed_share"),
                    least=least,
                )
                for tasks, least in ((10_000, 0.975), (100_000, 0.988), (1_000_000, 0.995))
            ),
            Figure(
                "faster than a loop over workers",
                _bench("test_against_loops_over_workers", "times_faster_than_loops"),
                least=100,
            ),
            Figure(
                "worker types: cost over bound", _bench("test_cost_of_recommended_workers", "cost_over_lp_bound"), 1.03
            ),
            Figure("worker types for 10,000 tests", _bench("test_recommend_worker_types"), most=1.0, unit="s"),
            Figure(
                "makespan, 100 tests a worker", _bench("test_tight_suite[100-1.02]", "makespan_over_bound"), most=1.02
            ),
            Figure(
                "makespan, 20 tests a worker", _bench("test_tight_suite[20-1.08]", "makespan_over_bound"), most=1.08
            ),
            Figure(
                "makespan, durations wrong by a third",
                _bench("test_tight_suite_with_durations_wrong_by_a_third", "makespan_over_bound"),
                most=1.03,
            ),
            Figure(
                "makespan with stragglers", _bench("test_second_starts_of_stragglers", "makespan_over_bound"), most=1.01
            ),
            Figure("work twice for that", _bench("test_second_starts_of_stragglers", "extra_work"), most=0.005),
            Figure(
                "a decision about 200 machine types", _bench("test_a_decision_about_every_type"), most=0.02, unit="s"
            ),
        ),
    ),
    Measurement(
        ("benchmarks.processes", "{python}", "-m", "drm", "simulate", "benchmarks/scenarios/million.yml"),
        (
            Figure("a million tests on 2,000 workers simulated", lambda told: told["wall_s"], most=600, unit="s"),
            Figure("the same: memory", lambda told: told["memory_bytes"] / 2**30, most=4, unit="GiB"),
        ),
    ),
    Measurement(
        ("benchmarks.processes", "{python}", "-m", "drm", "--version"),
        (Figure("drm --version", lambda told: told["cpu_s"], most=0.15, unit="cpu s"),),
    ),
    Measurement(
        ("benchmarks.event_cost", "--json"),
        (Figure("an event with 400 workers, of one with 20, simulated", _told("of_the_few"), most=1.2),),
    ),
    Measurement(
        ("benchmarks.reporting", "--json"),
        (
            *(
                Figure(f"report of {tests} tests: {what}", _told(f"{tests} tests: {key}"), most, unit=unit)
                for tests, most_bytes, most_cpu in ((20_000, 1e6, 1.0), (100_000, 3e6, 2.0))
                for what, key, most, unit in (
                    ("size", "page, bytes", most_bytes, "bytes"),
                    ("opened", "opened, cpu s", most_cpu, "cpu s"),
                    ("zoom", "zoom, s", 0.1, "s"),
                )
            ),
            Figure("report of 20000 tests: made", _told("20000 tests: made, cpu s"), most=2.0, unit="cpu s"),
            Figure("pytest-html's page, as large", _told("pytest-html's page, as large"), least=10),
            Figure("pytest-html's page, as dear to open", _told("pytest-html's page, as dear to open"), least=20),
        ),
    ),
    Measurement(
        ("benchmarks.cluster", "--json"),
        (
            *(
                Figure(f"three hosts over Ray: {what}", _of_cluster(name), most, unit=unit)
                for what, name, most, unit in (
                    ("order to event, median", "order to event, p50 (ms)", 5.0, "ms"),
                    ("order to event, 99 %", "order to event, p99 (ms)", 15.0, "ms"),
                    ("controller while idle", "controller while idle, of a core", 0.02, "of a core"),
                    ("a new machine's first result", "a new machine's first result (s)", 12.0, "s"),
                    ("a killed machine's tests elsewhere", "tests of a killed machine run elsewhere (s)", 6.0, "s"),
                )
            ),
            Figure(
                "three hosts over Ray: tests per cpu second, of the embedded engine's",
                _of_cluster("tests per cpu second, of the embedded engine's"),
                least=0.7,
            ),
        ),
    ),
    Measurement(
        ("benchmarks.gpu_cluster", "{data}/gpu-cluster-2023", "--json"),
        is_timed=False,
        figures=tuple(
            Figure(f"gpus given out, {name}", _row("workload", name, "gpu_allocation_percent"), least=least, unit="%")
            for name, least in (("default", 95.8), ("cpu250", 94.1), ("gpushare100", 87.2), ("gpuspec33", 95.5))
        ),
        data="gpu-cluster-2023",
    ),
    Measurement(
        ("benchmarks.gpu_cluster", "{data}/gpu-cluster-2023", "--batch", "--json"),
        is_timed=False,
        figures=(
            Figure(
                "the same, all known at once",
                _row("workload", "default", "gpu_allocation_percent"),
                least=97.5,
                unit="%",
            ),
        ),
        data="gpu-cluster-2023",
    ),
    *(
        Measurement(
            ("benchmarks.workflow_memory", "{data}/workflow-memory", "--protocol", *options, "--json"),
            (
                *(
                    Figure(f"memory wasted, {what}: {name}", _row("workflow", name, "gb_hours"), most, unit="GB-hours")
                    for name, most in waste.items()
                ),
                Figure("the same: failing tasks", _row("workflow", "all", "failing_percent"), most=failing, unit="%"),
            ),
            data="workflow-memory",
            is_timed=False,
        )
        for what, options, waste, failing in (
            ("30 % known", ("A",), {"chipseq": 52.5, "eager": 219.5, "iwd": 0.525, "methylseq": 686.7}, 3.0),
            ("30 % known, safe", ("A", "--safe"), {"all": 1650.0}, 1.5),
            ("nothing known", ("B",), {"all": 3000.0}, 3.0),
        )
    ),
    Measurement(
        ("benchmarks.test_durations", "{data}/test-durations/onegov.csv.gz", "--json"),
        is_timed=False,
        figures=(
            Figure("durations: median error", _told("mdape_percent"), most=4.0, unit="%"),
            Figure("durations: 90 % intervals hold, least", _told("covered_percent"), least=88, unit="%"),
            Figure("durations: 90 % intervals hold, most", _told("covered_percent"), most=92, unit="%"),
            Figure("8 workers: makespan over bound", _told("makespan_over_bound_8"), most=1.01),
            Figure("32 workers: makespan over bound", _told("makespan_over_bound_32"), most=1.05),
        ),
        data="test-durations",
    ),
    Measurement(
        ("benchmarks.scaling", "--json"),
        is_timed=False,
        figures=(
            Figure(
                "scaling: cost, of who knows the future, worst",
                lambda rows: max(r["ours_cost"] for r in rows),
                most=1.15,
            ),
            Figure(
                "scaling: makespan, of who knows the future, worst",
                lambda rows: max(r["ours_makespan"] for r in rows),
                most=1.15,
            ),
        ),
    ),
    Measurement(
        ("benchmarks.fault_schedules", "--json"),
        is_timed=False,
        figures=(
            Figure(
                "10,000 schedules of faults: not clean",
                lambda told: float(len(told["unclean"])),
                most=0,
                unit="schedules",
            ),
        ),
    ),
    Measurement(
        ("benchmarks.chaos", "--runs", "200"),
        (Figure("200 runs under faults: gone wrong", _told("runs_gone_wrong"), most=0, unit="runs"),),
    ),
    Measurement(
        ("benchmarks.chaos", "--runs", "200", "--engine", "ray"),
        (
            Figure("200 runs over Ray: gone wrong", _told("runs_gone_wrong"), most=0, unit="runs"),
            # What is said of them is said of silence beyond the lease too.
            Figure("200 runs over Ray: silent workers lost", _told("silent_lost"), least=20, unit="workers"),
            Figure("200 runs over Ray: back after they were lost", _told("back_again"), least=20, unit="workers"),
        ),
    ),
    Measurement(
        ("benchmarks.soak", "--json"),
        (
            Figure(
                "30 minutes of every fault: violations", lambda told: float(len(told["violations"])), most=0, unit=""
            ),
        ),
    ),
)
