"""A project as it lies here, for a machine that has none of it: files by the hash of their content.

``Bundle`` reads the project and gives out the pieces that are asked for; ``BundleCache`` keeps pieces on the worker and
unpacks projects from them; a ``Manifest`` goes between them.
"""

from drm.bundle.cache import CACHE_BYTES, BundleCache
from drm.bundle.files import project_files
from drm.bundle.manifest import Entry, Manifest
from drm.bundle.packing import LIMIT_BYTES, PARCEL_BYTES, Bundle

__all__ = ["CACHE_BYTES", "LIMIT_BYTES", "PARCEL_BYTES", "Bundle", "BundleCache", "Entry", "Manifest", "project_files"]
