"""Every figure that is promised, measured one after another on one commit: what, the promise, the figure, the command.

    python -m benchmarks.everything [--data DATA_DIR] [--only WORD ...] [--list] [--output docs/measured.md]

Takes about two hours on two cores; nothing else should run there. ``DATA_DIR`` has the folders of the public traces
(see their rows); without it those rows say so. A command that fails leaves its last line in place of a figure.
Exit code 1 where a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drm.worker.limits import machine_capacity

_PEERS = "serial,load,drm"
_TIMEOUT_S = 3600


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
    """A command, as words after ``python -m``, and the figures in what it prints. ``data``: a folder it needs."""

    command: tuple[str, ...]
    figures: tuple[Figure, ...]
    data: str = ""


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
    return lambda rows: float(next(row for row in rows if row[key] == name)[value])


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
        ("benchmarks.gpu_cluster", "{data}/gpu-cluster-2023", "--json"),
        tuple(
            Figure(f"gpus given out, {name}", _row("workload", name, "gpu_allocation_percent"), least=least, unit="%")
            for name, least in (("default", 95.8), ("cpu250", 94.1), ("gpushare100", 87.2), ("gpuspec33", 95.5))
        ),
        data="gpu-cluster-2023",
    ),
    Measurement(
        ("benchmarks.gpu_cluster", "{data}/gpu-cluster-2023", "--batch", "--json"),
        (
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
            tuple(
                Figure(
                    f"memory of workflows, {what}: failing tasks",
                    _row("workflow", "all", "failing_percent"),
                    most=most,
                    unit="%",
                )
                for most in (failing,)
            ),
            data="workflow-memory",
        )
        for what, options, failing in (
            ("30 % known", ("A",), 3.0),
            ("30 % known, safe", ("A", "--safe"), 1.5),
            ("nothing known", ("B",), 3.0),
        )
    ),
    Measurement(
        ("benchmarks.test_durations", "{data}/test-durations/onegov.csv.gz", "--json"),
        (
            Figure("durations: median error", lambda rows: rows[0]["mdape_percent"], most=4.0, unit="%"),
            Figure(
                "durations: 90 % intervals hold, least", lambda rows: rows[0]["covered_percent"], least=88, unit="%"
            ),
            Figure("durations: 90 % intervals hold, most", lambda rows: rows[0]["covered_percent"], most=92, unit="%"),
            Figure("8 workers: makespan over bound", lambda rows: rows[0]["makespan_over_bound_8"], most=1.01),
            Figure("32 workers: makespan over bound", lambda rows: rows[0]["makespan_over_bound_32"], most=1.05),
        ),
        data="test-durations",
    ),
    Measurement(
        ("benchmarks.scaling", "--json"),
        (
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
        ("benchmarks.fault_schedules", "--json", "--jobs", "2"),
        (
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
        (Figure("200 runs under faults: gone wrong", lambda rows: rows[-1]["runs_gone_wrong"], most=0, unit="runs"),),
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


def parse_json(printed: str) -> Any:
    """Return the document that was printed, or the list of those lines that are JSON."""
    try:
        whole = json.loads(printed)
    except ValueError:
        return [json.loads(line) for line in printed.splitlines() if line.startswith(("{", "["))]
    return [whole] if isinstance(whole, dict) and "workload" in whole else whole


def measure(measurement: Measurement, data: Path | None) -> tuple[list[tuple[Figure, float | None]], str]:
    """Run the command; return its figures (None where there is none) and why, where it did not come to them."""
    nothing: list[tuple[Figure, float | None]] = [(figure, None) for figure in measurement.figures]
    if measurement.data and (data is None or not (data / measurement.data).exists()):
        return nothing, f"no data: {measurement.data}"
    words = [word.format(data=data) for word in measurement.command]
    try:
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return nothing, f"not done in {_TIMEOUT_S} s"
    try:
        told = parse_json(done.stdout)
        return [(figure, float(figure.find(told))) for figure in measurement.figures], ""
    except (ValueError, LookupError, TypeError, StopIteration):
        last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        return nothing, f"exit code {done.returncode}: {last[:120]}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.everything", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="commands that have one of these in them")
    parser.add_argument("--list", action="store_true", help="show the commands, run none")
    parser.add_argument("--output", type=Path, help="also write the table there")
    options = parser.parse_args(arguments)
    chosen = [m for m in MEASUREMENTS if not options.only or any(word in " ".join(m.command) for word in options.only)]
    if options.list:
        print("\n".join(f"python -m {' '.join(m.command)}" for m in chosen))
        return 0
    lines = [*_head(), "| what | promise | measured | | command |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    kept = True
    for measurement in chosen:
        figures, why_not = measure(measurement, options.data)
        shown = f"`python -m {' '.join(measurement.command)}`".replace("{data}", "DATA_DIR")
        for figure, value in figures:
            is_kept = value is not None and figure.is_kept(value)
            kept = kept and is_kept
            said = why_not if value is None else f"{value:.4g} {figure.unit}"
            verdict = "kept" if is_kept else "**not measured**" if value is None else "**not kept**"
            lines.append(f"| {figure.what} | {figure.promise} | {said} | {verdict} | {shown} |")
            print(lines[-1], flush=True)
            shown = "same"
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if kept else 1


def _head() -> list[str]:
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    capacity = machine_capacity()
    machine = f"{capacity.cpu_cores:g} cores, {capacity.memory_bytes / 2**30:.0f} GiB"
    return [
        "# Measured",
        "",
        f"Commit {commit}, {time.strftime('%Y-%m-%d')}, {machine}, Python {platform.python_version()}. Written by",
        "`python -m benchmarks.everything`; ratios are to a peer that ran in turn with ours on the same machine.",
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
