"""From a collected pytest session to what a run is made of: its tasks, its suite and a way to start executors."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from drm.django_order import turn_of
from drm.model.markers import group_marker, requirements_of
from drm.model.work import Task
from drm.nodes import arguments_for_plugins
from drm.ports import EventSink, Surface
from drm.run_options import RunOptions
from drm.settings import ProjectSettings
from drm.worker.launchers import Launcher, SpawnLauncher, ZygoteLauncher
from drm.worker.shared_descriptors import patched, unsafe_descriptors
from drm.worker.spawned import environment_for
from drm.worker.suite import Suite, fork_zygote
from drm.worker.threads import unsafe_threads

if TYPE_CHECKING:
    from drm.engines.ray_engine.engine import RayEngine

_FIRST_WORKER_S = 60.0
_LONELY_S = 120.0


def tasks_of(items: Mapping[str, pytest.Item], settings: ProjectSettings) -> list[Task]:
    """Return one task per collected item, in order, with what its markers and the settings ask for.

    ConfigError names the test whose marker is wrong.
    """
    asked: dict[tuple[int, ...], Any] = {}
    tasks = []
    for position, (task_id, item) in enumerate(items.items()):
        markers = [mark for mark in item.iter_markers() if mark.name in ("drm", "xdist_group")]
        turn = turn_of(item)
        key = (turn, *map(id, markers))
        if key not in asked:  # most tests have none, and those of a class share theirs
            given = [
                (mark.args, mark.kwargs) if mark.name == "drm" else group_marker(mark.args, mark.kwargs)
                for mark in markers
            ]
            found = requirements_of(given, settings.requirements, where=item.nodeid, counted=settings.counted)
            asked[key] = (
                markers,
                replace(found, turn=turn),
            )  # the markers are kept, for their ids not to be given to others
        scope = item.nodeid.partition("::")[0]
        tasks.append(
            Task(
                task_id=task_id,
                scope=scope,
                position=position,
                fixtures=_fixtures_of(item),
                requirements=asked[key][1],
            )
        )
    return tasks


def _fixtures_of(item: pytest.Item) -> tuple[str, ...]:
    """Return the fixtures that the test names among its arguments: the project's own, not pytest's."""
    info = getattr(item, "_fixtureinfo", None)
    if info is None or not info.argnames:
        return ()
    found = [(name, info.name2fixturedefs.get(name)) for name in info.argnames]
    return tuple(name for name, defs in found if defs and not defs[-1].func.__module__.startswith("_pytest"))


def suite_of(config: pytest.Config, options: RunOptions, run_id: str) -> Suite:
    """Return how another process collects the same tests."""
    factory = getattr(config, "_tmp_path_factory", None)
    return Suite(
        args=(*arguments_for_plugins(config), *map(str, config.invocation_params.args)),
        cwd=str(config.invocation_params.dir),
        sys_path=tuple(sys.path),
        run_id=run_id,
        executor_count=max(1, options.executors[1], options.workers[1]),
        basetemp=str(factory.getbasetemp()) if factory is not None else "",
        max_failures=0 if options.retries.failure else options.max_failures,
    )


def choose_start_method(options: RunOptions, before: Mapping[int, str], say: Callable[[str], None]) -> str:
    """Return how executors start: as asked for, or by fork where that is safe.

    ``before``: the descriptors that were open before anything of the project was imported.
    """
    if options.start_method is not None:
        return options.start_method
    if not hasattr(os, "fork") or sys.platform != "linux":
        return "spawn"
    reasons = [f"threads run after collection ({', '.join(threads)})"] if (threads := unsafe_threads()) else []
    reasons += [f"collection opened {what}" for what in unsafe_descriptors(before)[:3]]
    reasons += [f"{name} has patched what waits" for name in patched()]
    if reasons:
        say(
            f"{' and '.join(reasons)}, so that forking is not safe: executors are "
            "spawned, and each collects for itself (--drm-start fork forks all the same)"
        )
    return "spawn" if reasons else "fork"


def launcher_of(
    session: pytest.Session, items: Mapping[str, pytest.Item], suite: Suite, options: RunOptions
) -> Launcher:
    if options.start_method == "spawn":
        command = (sys.executable, "-m", "drm.worker.spawned")
        return SpawnLauncher(command, lambda executor_id: environment_for(suite, executor_id))

    def fork(control: socket.socket, foreign: socket.socket) -> int:
        return fork_zygote(session, items, suite, control, foreign)

    return ZygoteLauncher(fork)


def connected_engine(
    options: RunOptions, suite: Suite, surface: Surface, say: Callable[[str], None]
) -> tuple[RayEngine, EventSink] | tuple[None, None]:
    """Return an engine that is connected to the coordinator of the run, and who keeps its table of workers up to
    date; none where no coordinator was asked for. DrmError where that fails."""
    if not options.coordinator:
        return None, None
    # A run on this machine alone needs none of these, nor the TLS and HTTP that they bring.
    from drm.bundle import LIMIT_BYTES
    from drm.engines.carrying import Carrier
    from drm.engines.ray_engine.engine import RayEngine
    from drm.engines.ray_engine.state import CoordinatorState
    from drm.engines.ray_engine.tables import WorkerTable
    from drm.joining import needed_packages

    state = CoordinatorState.of(options.coordinator)
    engine = RayEngine(
        suite=suite,
        state=state,
        start_method=options.start_method or "fork",
        given=surface.executor_starts,
        say=say,
        lonely_s=math.inf if options.worker_types else _LONELY_S,
        carrier=Carrier(
            options.rootdir,
            needed_packages(sys.modules, options.rootdir),
            say,
            exclude=(*options.bundle_exclude, *_own_record(options)),
            limit_bytes=options.bundle_limit_bytes or LIMIT_BYTES,
        ),
    )
    try:
        engine.start()
        if not options.worker_types:
            engine.await_workers(_FIRST_WORKER_S)
    except BaseException:
        engine.close()
        raise
    return engine, WorkerTable(state.folder, engine.held)


def _own_record(options: RunOptions) -> tuple[str, ...]:
    """Return a pattern of the files that this run writes into the project."""
    if options.report_dir is None or not options.report_dir.is_relative_to(options.rootdir):
        return ()
    return (f"{options.report_dir.relative_to(options.rootdir).as_posix()}/*",)
