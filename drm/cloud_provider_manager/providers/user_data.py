"""What a cloud's machine runs when it boots: a script that cloud-init takes as user data."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence

from drm.cluster_trust.enrolment import JOIN_TOKEN
from drm.model.errors import ConfigError

__all__ = ["LIMIT_BYTES", "is_secret_name", "user_data"]

LIMIT_BYTES = 16 * 1024  # of EC2, before base64: docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
_SECRET = re.compile(r"secret|token|passw|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def is_secret_name(name: str) -> bool:
    """Tell whether a variable of that name holds a secret, as far as a name can tell."""
    return _SECRET.search(name) is not None


def user_data(
    command: Sequence[str],
    environment: Sequence[tuple[str, str]],
    *,
    lease_s: float,
    bootstrap: str = "",
    limit_bytes: int = LIMIT_BYTES,
) -> str:
    """Return a bash script: power off after the lease whatever happens, set up, run the command, power off.

    ``bootstrap``: lines of bash that install the Python and the project. A machine whose own lease ends it is not
    forgotten when its controller is: the instance must be set to terminate when it powers off.
    ConfigError for more than the limit (16 KiB at EC2), and for a variable that by its name is a secret: whoever may
    describe the instance, and every process on it, can read user data. The token to join with is none that lasts: it
    is good once and for a few minutes (see ``enrolment``).
    """
    for name, _ in environment:
        if not _NAME.match(name):
            raise ConfigError(f"environment variable {name!r} is no name that a shell can set")
        if is_secret_name(name) and name != JOIN_TOKEN:
            raise ConfigError(
                f"environment variable {name} would put a secret into user data, which is no secret place",
                remedy="let the machine fetch it with its role, or rename the variable if it is none",
            )
    minutes = max(1, math.ceil(lease_s / 60))
    lines = [
        "#!/bin/bash",
        f"shutdown -P +{minutes}",
        "trap 'shutdown -P now' EXIT",
        *(["set -e", bootstrap.strip("\n"), "set +e"] if bootstrap.strip() else []),
        *(f"export {name}={shlex.quote(value)}" for name, value in environment),
        shlex.join(command),
    ]
    script = "\n".join(lines) + "\n"
    size = len(script.encode("utf-8"))
    if size > limit_bytes:
        raise ConfigError(
            f"user data would be {size:,} bytes of at most {limit_bytes:,}",
            remedy="let the bootstrap script fetch what it needs, or make an image that has it",
        )
    return script
