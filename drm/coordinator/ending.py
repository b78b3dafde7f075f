"""Sentences about tests that did not end by themselves."""

from __future__ import annotations

from drm.model.units import format_bytes, format_duration
from drm.model.work import Death


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
    return (
        f"not run: it {reason}; lower its @pytest.mark.drm(...) or give larger workers "
        "(--drm-cpus, --drm-memory, --drm-worker-type)"
    )
