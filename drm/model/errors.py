"""Errors that a caller can act on: each says what happened, to what, and what to do next."""

from __future__ import annotations


class DrmError(Exception):
    """Base of every error DRM raises on purpose.

    ``str(error)`` is one line: what happened, then the remedy.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class ConfigError(DrmError):
    """An option, a marker or a file says something impossible; retrying will not help."""


class CapacityError(DrmError):
    """The resources asked for are not free, or do not exist, at present."""


class QuotaError(DrmError):
    """A limit set by the user or the provider forbids more."""


class ThrottledError(DrmError):
    """The provider asks to be called less often; retry later."""


class UnauthorisedError(DrmError):
    """The credentials are missing, wrong or not allowed to do this."""


class UnknownFateError(DrmError):
    """No answer came, or one that says nothing: what was asked for may have been done.

    Whoever asked to create something looks for it, or asks again with the same token, before anything else.
    """


class LostError(DrmError):
    """Something that was there (a worker, an instance, a connection) is gone."""


class UnknownWorkerError(DrmError):
    """No worker of that id is registered."""


class UnknownTaskError(DrmError):
    """No reservation or task of that id exists."""


class DuplicateError(DrmError):
    """An id is taken already, by something different."""
