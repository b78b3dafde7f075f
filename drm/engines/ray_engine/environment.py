"""What Ray is told before it is imported, and the one thing it is kept from doing."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["HEALTH", "prepare", "ray_environment"]

# https://docs.ray.io/en/latest/ray-core/fault_tolerance/gcs.html and src/ray/common/ray_config_def.h of Ray 2.60:
# a node that is cut off is dead after three checks of 2 s each; the default is 5 of 10 s.
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}
_ALWAYS = {
    # On a busy machine an agent of Ray takes more than 30 s to start, and the raylet then ends itself.
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_worker_register_timeout_seconds": "180",
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_AUTH_MODE": "disabled",  # unless told below: or a token that lies about would be used, by some processes only
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or an actor without gpus would have CUDA_VISIBLE_DEVICES emptied
    # Or agents are the first that the kernel ends when memory is short, and all that they start: executors are to be.
    "RAY_worker_oom_score_adjustment": "0",
    # Or all that an actor starts runs at niceness 15: last on its machine, and not as tests run elsewhere.
    "RAY_worker_niceness": "0",
    # What is recorded of each call is for Ray's dashboard, which there is none of.
    "RAY_task_events_report_interval_ms": "0",
    "RAY_event_stats": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_debug_dump_period_milliseconds": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # or a call after the end of a connection would start a cluster
}


def ray_environment(trust: Mapping[str, str]) -> dict[str, str]:
    """Return what every process of Ray finds in its environment. ``trust``: by whom it lets itself be spoken to."""
    return {**_ALWAYS, **trust}


def prepare(trust: Mapping[str, str]) -> None:
    """Set the environment of this process; before Ray is imported.

    Ray replaces the loopback address by one that other machines reach, and then listens on all interfaces. Here
    the address that was asked for is the one that is used.
    """
    os.environ.update(ray_environment(trust))
    from ray._private import services

    services.resolve_ip_for_localhost = lambda host: host
