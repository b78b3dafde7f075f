"""The tags by which an instance of DRM is known, at every provider.

Names and values are lower case letters, digits, ``-``, ``_`` and ``.`` where we choose them: all providers take those.
"""

from __future__ import annotations

from drm.model.cluster import InstanceRequest

__all__ = ["EXPIRES", "MANAGED", "OPERATION", "OWNER", "RUN", "TYPE", "WORKER", "own_tags"]

MANAGED = "drm-managed"  # "1" on everything that DRM made: without it an instance is none of ours
WORKER = "drm-worker"
TYPE = "drm-type"
OPERATION = "drm-operation"  # the token of the create
RUN = "drm-run"
OWNER = "drm-owner"  # the controller's process, see ``owner``
EXPIRES = "drm-expires"  # whole seconds since the epoch after which nobody should need it


def own_tags(request: InstanceRequest) -> tuple[tuple[str, str], ...]:
    """Return the tags that every provider adds to those of the request."""
    tags = [(MANAGED, "1"), (WORKER, request.worker_id), (TYPE, request.worker_type.name)]
    if request.token:
        tags.append((OPERATION, request.token))
    return tuple(tags)
