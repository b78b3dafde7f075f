"""The end of a test that did not end by itself, in a sentence; and the end of a run, in events."""

from __future__ import annotations

from collections.abc import Sequence

from drm.coordinator.accounts import Accounts
from drm.coordinator.crew import Executor
from drm.coordinator.recorder import Recorder
from drm.model import events
from drm.model.cluster import WorkerView
from drm.model.death import Death, DeathKind
from drm.model.resources import Requirements, Resources
from drm.model.units import format_bytes
from drm.model.work import Outcome
from drm.resource_optimizer import lacking, placement_problem


def death_message(death: Death, *, executor: Executor, reserved: Resources | None, limit_bytes: int) -> str:
    """Say how an executor died: by whose hand, with how much memory, of how much."""
    if death.reason:
        cause = f"killed: {death.reason}"
    elif death.kind is DeathKind.MEMORY:
        cause = f"killed by the kernel for memory (signal {death.signal})"
    elif death.signal is not None:
        cause = f"killed by signal {death.signal}"
    else:
        cause = f"the process ended with exit code {death.exit_code}"
    promised = f", with {format_bytes(reserved.memory_bytes)} reserved" if reserved is not None else ""
    return (
        f"{cause} (executor {executor.executor_id} on worker {executor.worker_id}; the memory of its tests peaked at "
        f"{format_bytes(executor.used_bytes(death.peak_rss_bytes))}{promised}; "
        f"the worker has {format_bytes(limit_bytes)})"
    )


_RAISES = {"cpu": "--drm-cpus", "memory": "--drm-memory", "gpu": "--drm-gpus"}  # by what there is too little of


def refusal_message(requirements: Requirements, places: Sequence[WorkerView]) -> str | None:
    """Say why a test is not run on any of the workers, and what to do; None if it fits one."""
    reason = placement_problem(requirements, places)
    if reason is None:
        return None
    lacks = lacking(requirements, places)
    options = [option for name, option in _RAISES.items() if name in lacks]
    remedy = (
        "add a worker type with that label (--drm-workers 1..2 --drm-worker-type labels=...)"
        if "labels" in lacks
        else f"lower its @pytest.mark.drm(...) or give larger workers ({', '.join([*options, '--drm-worker-type'])})"
    )
    return f"not run: it {reason}; {remedy}"


def record_end(recorder: Recorder, accounts: Accounts, reason: str) -> None:
    """Settle every test that has no outcome as not run, give the account of the run, and close the record."""
    why = reason or "the run ended before its turn"
    for task in accounts.open_tasks():
        accounts.settle(task.task_id, Outcome.NOT_RUN)
        begun = accounts.attempts(task.task_id) > 0
        recorder.record(
            events.TestFinished,
            task_id=task.task_id,
            outcome=Outcome.NOT_RUN,
            attempts=accounts.attempts(task.task_id),
            wall_s=0.0,
            message=f"it had not ended when the run was stopped: {why}" if begun else why,
        )
    recorder.record(
        events.RunFinished,
        collected=accounts.collected,
        counts=accounts.counts(),
        wall_s=round(recorder.elapsed_s(), 3),
        reason=reason,
    )
    recorder.close()


def torn_down_by(executor: Executor, death: Death) -> str:
    """Return the test of which an executor that ran none was to tear down what it needed; empty where it was not to.

    Of a SIGKILL nothing can be told: the kernel takes executors first, whoever needs the memory.
    """
    was_busy = executor.stopping or bool(executor.held)
    is_asked = death.killed_for is not None or death.signal == "SIGKILL"
    return executor.last or "" if was_busy and not is_asked else ""
