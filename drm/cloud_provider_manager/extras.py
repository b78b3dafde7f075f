"""Libraries of providers: imported when a provider is made, never before."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

from drm.model.errors import ConfigError

__all__ = ["load", "load_parts"]


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


def load_parts(package: str, *parts: str, extra: str) -> tuple[ModuleType, ...]:
    """Import modules of a package without all that its ``__init__`` imports: that may be a hundred others.

    Whoever imports the package itself, such as a test in this process, finds everything in it as always.
    """
    if package in sys.modules:
        load(package, extra=extra)  # which fails where it is barred, though its parts may be there
    elif (spec := _spec_of(package)) is not None:
        sys.modules[package] = _executed_when_used(spec)
    return tuple(load(f"{package}.{part}", extra=extra) for part in parts)


def _spec_of(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except ModuleNotFoundError:  # nor is what it lies in
        return None


def _executed_when_used(spec: ModuleSpec) -> ModuleType:
    """Return a package that is executed when it is asked for a name that it does not have yet."""
    package = module_from_spec(spec)

    def complete(name: str) -> Any:
        if name.startswith("__") and name != "__all__":  # the import system looks at these
            raise AttributeError(name)
        if _spec_of(f"{spec.name}.{name}") is not None:
            return importlib.import_module(f"{spec.name}.{name}")
        del package.__getattr__
        assert spec.loader is not None
        spec.loader.exec_module(package)
        return getattr(package, name)

    package.__getattr__ = complete  # type: ignore[method-assign]
    return package
