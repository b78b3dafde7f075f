"""Where workers come from, and that none of them leaks."""

from __future__ import annotations

from drm.cloud_provider_manager.manager import CloudProviderManager
from drm.cloud_provider_manager.providers.local import LocalProvider

__all__ = ["CloudProviderManager", "LocalProvider"]
