"""Libraries of providers: imported when a provider is made, never before."""

from __future__ import annotations

import importlib
from types import ModuleType

from drm.model.errors import ConfigError


def load(module: str, *, extra: str) -> ModuleType:
    """Import a module of an extra; ConfigError with the command that installs it where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = "google-cloud-compute" if module.startswith("google.") else module.partition(".")[0]
        raise ConfigError(
            f"provider {extra} needs {package}, which is not installed here ({error})",
            remedy=f"python -m pip install 'drm-testing[{extra}]'",
        ) from error
