"""The end of a test that did not end by itself, in a sentence; and the end of a run, in events."""

from __future__ import annotations

from drm.coordinator.accounts import Accounts
from drm.coordinator.recorder import Recorder
from drm.model import events
from drm.model.units import format_bytes, format_duration
from drm.model.work import Death, Outcome


def death_message(death: Death, *, executor_id: str, worker_id: str, limit_bytes: int) -> str:
    """Say how an executor died: by whose hand, with how much memory, under what limit."""
    if death.reason:
        cause = f"killed: {death.reason}"
    elif death.signal is not None:
        cause = f"killed by signal {death.signal}"
    else:
        cause = f"the process ended with exit code {death.exit_code}"
    message = (
        f"{cause} (executor {executor_id} on worker {worker_id}; its memory peaked at "
        f"{format_bytes(death.peak_rss_bytes)}, the worker has {format_bytes(limit_bytes)})"
    )
    if death.signal == "SIGKILL" and not death.reason and death.peak_rss_bytes > limit_bytes / 2:
        message += "; the kernel probably killed it for memory"
    return message


def timeout_reason(timeout_s: float) -> str:
    return f"the test ran longer than its timeout of {format_duration(timeout_s)}"


def lost_message(times: int, reason: str) -> str:
    return f"the worker that ran it was lost {times} times, the last time because {reason}"


def refusal_message(reason: str) -> str:
    remedy = (
        "add a worker type with that label (--drm-workers 1..2 --drm-worker-type labels=...)"
        if "label" in reason
        else "lower its @pytest.mark.drm(...) or give larger workers (--drm-cpus, --drm-memory, --drm-worker-type)"
    )
    return f"not run: it {reason}; {remedy}"


def record_end(recorder: Recorder, accounts: Accounts, reason: str) -> None:
    """Settle every test that has no outcome as not run, give the account of the run, and close the record."""
    for task in accounts.open_tasks():
        accounts.settle(task.task_id, Outcome.NOT_RUN)
        recorder.record(
            events.TestFinished,
            task_id=task.task_id,
            outcome=Outcome.NOT_RUN,
            attempts=accounts.attempts(task.task_id),
            wall_s=0.0,
            message=reason or "the run ended before its turn",
        )
    recorder.record(
        events.RunFinished,
        collected=accounts.collected,
        counts=accounts.counts(),
        wall_s=round(recorder.elapsed_s(), 3),
        reason=reason,
    )
    recorder.close()
