"""Command-line options and the [drm] section, as ``RunOptions``."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from drm.model.errors import ConfigError
from drm.model.markers import parse_worker_type
from drm.model.resources import Resources
from drm.model.units import parse_bytes, parse_count_range
from drm.session import RunOptions, capacity_of, check_worker_types
from drm.settings import ProjectSettings


def run_options(config: pytest.Config, settings: ProjectSettings) -> RunOptions:
    """Return what the command line asks for, then the [drm] section, then the defaults. ConfigError if impossible."""

    def option(name: str) -> Any:
        given = config.getoption(f"drm_{name}")
        return given if given is not None else settings.options.get("machine_memory" if name == "memory" else name)

    cpus, memory = option("cpus"), option("memory")
    capacity = capacity_of(
        _cores(cpus) if cpus is not None else None,
        parse_bytes(memory, what="--drm-memory") if memory is not None else None,
    )
    executors = _executors(option("executors"), capacity)
    if config.getoption("usepdb") or config.getoption("trace", False):
        executors = (0, 0)  # a debugger needs the terminal
    if cpus is None and executors[1] > capacity.cpu_cores:
        capacity = Resources(cpu_cores=executors[1], memory_bytes=capacity.memory_bytes)
    workers, worker_types = (0, 0), ()
    if option("workers") is not None:
        workers = parse_count_range(option("workers"), what="--drm-workers", auto=int(capacity.cpu_cores), minimum=0)
        worker_types = _worker_types(option("worker_type"), capacity, workers)
    elif option("worker_type") is not None:
        raise ConfigError("--drm-worker-type is given without --drm-workers", remedy="add --drm-workers 1..4")
    report_dir = config.getoption("drm_report_dir")
    history = config.rootpath / ".drm" / "history.db"
    return RunOptions(
        executors=executors,
        workers=workers,
        worker_types=worker_types,
        capacity=capacity,
        start_method=option("start") or ("fork" if hasattr(os, "fork") and sys.platform == "linux" else "spawn"),
        report_dir=config.invocation_params.dir / Path(report_dir) if report_dir else None,
        history_path=history,
        rootdir=config.rootpath,
        command=("pytest", *map(str, config.invocation_params.args)),
    )


def _cores(value: Any) -> float:
    try:
        cores = float(value)
    except ValueError:
        cores = 0.0
    if not 0 < cores < 1e6:
        raise ConfigError(f"--drm-cpus: {value!r} is not a number of cores", remedy="give a number above 0")
    return cores


def _executors(value: Any, capacity: Resources) -> tuple[int, int]:
    auto = max(1, int(capacity.cpu_cores))
    if value is None:
        return auto, auto
    return parse_count_range(str(value), what="--drm-executors", auto=auto, minimum=0)


def _worker_types(texts: Any, capacity: Resources, workers: tuple[int, int]) -> Any:
    if isinstance(texts, str):
        texts = texts.split()
    texts = texts or ["cpu=1"]
    types = tuple(
        parse_worker_type(text, machine=capacity, number=number if len(texts) > 1 else 0)
        for number, text in enumerate(texts)
    )
    check_worker_types(types, capacity)
    if workers[1] < 1:
        raise ConfigError("--drm-workers: 0 workers run no test", remedy='give a range like "1..4"')
    return types


def other_threads() -> list[str]:
    """Return the names of threads besides the main one: a process that has any is not forked."""
    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
