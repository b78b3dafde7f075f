"""This process as a driver of a coordinator's cluster."""

from __future__ import annotations

import os
import signal
import sys

from drm.cluster_trust import COORDINATOR, default_folder, load_credentials, probe_port
from drm.engines.ray_engine.environment import prepare
from drm.engines.ray_engine.state import CoordinatorState
from drm.model.errors import ConfigError, LostError, UnauthorisedError


def connect(state: CoordinatorState) -> None:
    """Make this process a driver of the coordinator's cluster. Signals stay with whoever handles them now.

    Credentials that do not fit, and Ray that was loaded before it could be told of them, are told at once
    (UnauthorisedError, ConfigError): Ray itself would wait for minutes.
    """
    if "ray" in sys.modules and os.environ.get("RAY_USE_TLS") != "1":
        raise ConfigError(
            "Ray is loaded already, and was not told of the coordinator's certificates",
            remedy="import ray in the tests that use it, not while tests are collected",
        )
    credentials = load_credentials(default_folder() / COORDINATOR)
    probe_port(state.host, state.port, credentials)
    if not state.knows(credentials.token()):
        raise UnauthorisedError(
            f"the coordinator at {state.address} was started with another token",
            remedy="end that coordinator and start it again, for its credentials were replaced",
        )
    prepare(state.trust())
    import ray
    from ray._private import worker

    # It prints what becomes of machines into the run's output, in stack traces; the run says it itself.
    worker.listen_error_messages = lambda *_: None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.excepthook
    try:
        ray.init(
            address=state.address,
            namespace="drm",
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address=state.host,
        )
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, of Ray
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LostError(
            f"the coordinator at {state.address} cannot be reached ({line})", remedy="see that drm coordinator runs"
        ) from error
    finally:
        sys.excepthook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)


def disconnect() -> None:
    import ray

    ray.shutdown()
