"""The tags by which an instance of DRM is known, at every provider.

Names and values are lower case letters, digits, ``-``, ``_`` and ``.`` where we choose them: all providers take those.
"""

from __future__ import annotations

from drm.model.cluster import InstanceRequest

__all__ = ["EXPIRES", "MANAGED", "OPERATION", "OWNER", "RUN", "TYPE", "WORKER", "tags_of"]

MANAGED = "drm-managed"  # "1" on everything that DRM made: without it an instance is none of ours
WORKER = "drm-worker"
TYPE = "drm-type"
OPERATION = "drm-operation"  # the token of the create
RUN = "drm-run"
OWNER = "drm-owner"  # the controller's process, see ``owner``
EXPIRES = "drm-expires"  # whole seconds since the epoch after which nobody should need it


def tags_of(request: InstanceRequest) -> dict[str, str]:
    """Return the tags of the request, and those that every provider adds to them."""
    tags = {**dict(request.tags), MANAGED: "1", WORKER: request.worker_id, TYPE: request.worker_type.name}
    return {**tags, OPERATION: request.token} if request.token else tags
