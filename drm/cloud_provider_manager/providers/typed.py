"""Errors of a provider that are none of DRM's, as the nearest one that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drm.model.errors import DrmError, LostError, UnauthorisedError, UnknownFateError

__all__ = ["typed"]


@contextmanager
def typed(provider: str, what: str, *, creates: bool = False) -> Iterator[None]:
    """Raise what is no DrmError as the nearest one. What breaks off a create leaves its fate unknown."""
    try:
        yield
    except DrmError:
        raise
    except PermissionError as error:
        raise UnauthorisedError(f"provider {provider} may not {what} ({error})") from error
    except OSError as error:
        kind = UnknownFateError if creates else LostError
        raise kind(f"provider {provider} could not {what} ({error})") from error
    except Exception as error:
        known = UnknownFateError if creates else DrmError
        raise known(f"provider {provider} could not {what} ({type(error).__name__}: {error})") from error
