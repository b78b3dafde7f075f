"""``python -m drm.engines.ray_engine.start start ...``: the command ``ray``, on the address that it is given.

Its processes end with it, and it with the guard that started it.
"""

from __future__ import annotations

import os
import sys

from drm.engines.ray_engine.environment import prepare
from drm.engines.ray_engine.guard import PID_VARIABLE
from drm.worker.linux import die_with_parent


def main() -> None:
    die_with_parent(int(os.environ.pop(PID_VARIABLE)))
    prepare({name: value for name, value in os.environ.items() if name.startswith("RAY_")})
    from ray.scripts import scripts

    # Else a coordinator has Ray's server for remote drivers too, which nobody needs, on port 10001.
    scripts.get_ray_client_dependency_error = lambda: "not wanted"
    sys.argv[0] = "ray"
    scripts.main()


if __name__ == "__main__":
    main()
