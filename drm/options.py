"""Command-line options and the [drm] section, as ``RunOptions``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drm.coordinator.retries import RetryPolicy, parse_retries
from drm.dynamic_resource_manager import ScalingSettings, parse_scaling, parse_value_of_time
from drm.engines.silence import SILENT_S
from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError
from drm.model.markers import some_bytes
from drm.model.resources import Resources
from drm.model.units import parse_count_range, shown
from drm.priorities import ORDERS
from drm.provisioning import Machines, boot_s_of, parse_machines
from drm.run_options import RunOptions, capacity_of
from drm.settings import ProjectSettings
from drm.worker.gpus import check_gpus, usable_gpus


def run_options(config: pytest.Config, settings: ProjectSettings) -> RunOptions:
    """Return what the command line asks for, then the [drm] section, then the defaults. ConfigError if impossible."""

    def option(name: str) -> tuple[Any, str]:
        """Return the value, and what an error about it should name."""
        given = config.getoption(f"drm_{name}", None)
        if given is not None:
            return given, f"--drm-{name.replace('_', '-')}"
        key = "machine_memory" if name == "memory" else name
        return settings.options.get(key), f"{settings.where}: {key}"

    cpus, cpus_from = option("cpus")
    memory, memory_from = option("memory")
    capacity = capacity_of(
        _cores(cpus, cpus_from) if cpus is not None else None,
        some_bytes(memory, memory_from) if memory is not None else None,
        _gpus(*option("gpus")),
    )
    executors = _executors(*option("executors"), capacity)
    # A debugger needs the terminal, and "all tests before this one have passed" needs an order.
    alone = any(config.getoption(name, False) for name in ("usepdb", "trace", "stepwise", "stepwise_skip"))
    if alone:
        executors = (0, 0)
    if cpus is None and executors[1] > capacity.cpu_cores:
        capacity = replace(capacity, cpu_cores=executors[1])
    workers, texts = _workers(option("workers"), option("worker_type"), capacity)
    if not workers[1] and config.getoption("drm_provider", None) is not None:  # a project may have it set for later
        raise ConfigError("--drm-provider is given without a number of workers", remedy="add --drm-workers 1..4")
    machines, worker_types = Machines(), tuple[WorkerType, ...]()
    coordinator, coordinator_from = option("coordinator")
    if alone:
        workers, coordinator = (0, 0), None
    elif workers[1]:
        machines, worker_types = parse_machines(option, settings.providers, texts, capacity, where=settings.where)
    if coordinator is not None:
        from drm.engines.ray_engine.state import CoordinatorState, parse_address

        parse_address(coordinator, coordinator_from)
        CoordinatorState.of(coordinator)  # before anything is collected
    start, start_from = option("start")
    if start not in (None, "fork", "spawn"):
        raise ConfigError(f"{start_from}: {start!r} is no way to start executors", remedy="write fork or spawn")
    order, order_from = option("order")
    if order not in (None, *ORDERS):
        raise ConfigError(f"{order_from}: {order!r} is no order of tests", remedy=f"write one of {', '.join(ORDERS)}")
    reserve, reserve_from = option("reserve")
    if reserve not in (None, "usual", "safe"):
        raise ConfigError(f"{reserve_from}: {reserve!r} is no way to reserve", remedy="write usual or safe")
    retries, retries_from = option("retries")
    factor, factor_from = option("timeout_factor")
    speculate, speculate_from = option("speculate")
    report_dir = config.getoption("drm_report_dir")
    if report_dir == "":
        raise ConfigError("--drm-report-dir: '' is no folder", remedy="name one, such as reports/run")
    history = config.rootpath / ".drm" / "history.db"
    limit = settings.options.get("bundle_limit")
    return RunOptions(
        executors=executors,
        workers=workers,
        worker_types=worker_types,
        machines=machines,
        capacity=capacity,
        coordinator=coordinator or "",
        start_method=start,
        counted=settings.counted,
        order=order or ORDERS[0],
        retries=parse_retries(str(retries), retries_from) if retries is not None else RetryPolicy(),
        timeout_factor=_factor(factor, factor_from) if factor is not None else None,
        scaling=_scaling(option("scaling"), option("value_of_time"), machines),
        speculate=speculate is not None and _yes_or_no(speculate, speculate_from),
        safe=reserve == "safe",
        bundle_exclude=settings.patterns.get("bundle_exclude", ()),
        bundle_limit_bytes=some_bytes(limit, f"{settings.where}: bundle_limit") if limit is not None else None,
        silent_s=_silence(*option("lost_after")),
        max_failures=config.getoption("maxfail") or 0,
        report_dir=config.invocation_params.dir / Path(report_dir) if report_dir else None,
        history_path=history,
        rootdir=config.rootpath,
        command=("pytest", *map(str, config.invocation_params.args)),
    )


def _cores(value: Any, what: str) -> float:
    try:
        cores = float(value)
    except ValueError:
        cores = 0.0
    if not 0.001 <= cores < 1e6:
        raise ConfigError(f"{what}: {shown(value)} is not a number of cores", remedy="give a number above 0")
    return cores


def _gpus(value: Any, what: str) -> int:
    """Return how many gpus there are, or how many are declared: slots, one device each."""
    if value is None:
        return usable_gpus(os.environ)
    if not str(value).isdecimal() or len(str(value)) > 4:
        raise ConfigError(f"{what}: {shown(value)} is not a number of gpus", remedy="give a whole number, such as 2")
    check_gpus(int(value), os.environ, what)
    return int(value)


def _scaling(policy: tuple[Any, str], value_of_time: tuple[Any, str], machines: Machines) -> ScalingSettings:
    settings = parse_scaling(policy[0], where=policy[1]) if policy[0] is not None else ScalingSettings()
    settings = replace(settings, boot_s=boot_s_of(machines.providers[0], settings.boot_s))
    if value_of_time[0] is None:
        return settings
    return replace(settings, value_of_time=parse_value_of_time(value_of_time[0], where=value_of_time[1]))


def _factor(value: Any, what: str) -> float:
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 1 <= factor < 1e6:
        raise ConfigError(f"{what}: {value!r} is not a factor", remedy="give a number of at least 1, such as 10")
    return factor


def _silence(value: Any, what: str) -> float:
    if value is None:
        return SILENT_S
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 2 <= seconds < 1e6:
        raise ConfigError(f"{what}: {shown(value)} is not a time", remedy="give seconds, at least 2, such as 15")
    return seconds


def _yes_or_no(value: Any, what: str) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ConfigError(f"{what}: {shown(value)} is neither yes nor no", remedy="write true or false")
    return str(value).lower() == "true"


def _executors(value: Any, what: str, capacity: Resources) -> tuple[int, int]:
    auto = max(1, int(capacity.cpu_cores))
    return parse_count_range("auto" if value is None else str(value), what=what, auto=auto, minimum=0)


def _workers(
    count: tuple[Any, str], types: tuple[Any, str], capacity: Resources
) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return how many separate workers there may be, and their types as written; (0, 0) when they are not asked for."""
    texts, types_from = types
    if count[0] is None:
        if texts is not None:
            raise ConfigError(f"{types_from} is given without a number of workers", remedy="add --drm-workers 1..4")
        return (0, 0), ()
    auto = max(1, int(capacity.cpu_cores))
    workers = parse_count_range(str(count[0]), what=count[1], auto=auto, minimum=0)
    if workers[1] < 1:
        raise ConfigError(f"{count[1]}: 0 workers run no test", remedy='give a range like "1..4"')
    return workers, tuple(texts.split() if isinstance(texts, str) else texts or ["cpu=1"])
