"""What an answer of the Kubernetes API, or of the way to it, means.

The statuses and reasons are those of "Kubernetes API Concepts" and of ``metav1.Status``
(kubernetes.io/docs/reference/using-api/api-concepts, .../kubernetes-api/common-definitions/status).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

from drm.cloud_provider_manager.messages import one_line
from drm.model.errors import (
    ConfigError,
    DrmError,
    DuplicateError,
    LostError,
    QuotaError,
    ThrottledError,
    UnauthorisedError,
    UnknownFateError,
)

__all__ = ["Asking", "MissingError", "error_of_status"]

_NOT_ASKED = ("NewConnectionError", "ConnectTimeoutError", "NameResolutionError", "SSLError")


class MissingError(LostError):
    """The API has no such object. (Where it was not reached, that is a LostError too, and says nothing of objects.)"""


def error_of_status(status: int, reason: str, said: str, text: str, *, creates: bool = False) -> DrmError:
    """Return the error for an HTTP status and the reason of its Status object. ``text``: ours, what was not done.

    DuplicateError: something of that name is there. MissingError: there is none. What tells nothing of a create is
    UnknownFateError.
    """
    message = f"{text} ({said})"
    if status == 401:
        return UnauthorisedError(message, remedy="check the credentials of the kubeconfig, and this machine's clock")
    if status == 403 and "exceeded quota" in said:
        return QuotaError(message, remedy="ask for a higher ResourceQuota of the namespace, or run fewer workers")
    if status == 403:
        return UnauthorisedError(message, remedy="give the account a Role for pods and secrets: docs/clouds.md has one")
    if status == 404:
        return ConfigError(message, remedy="make the namespace first") if creates else MissingError(message)
    if status == 409 and reason == "AlreadyExists":
        return DuplicateError(message)
    if status in (409, 429):  # Conflict: somebody else changed the same object, or its quota, at the same time
        return ThrottledError(message, remedy="ask later")
    if 400 <= status < 500 and status != 408:
        return ConfigError(message)
    return UnknownFateError(message) if creates else DrmError(message, remedy="ask later")


class Asking:
    """``with asking("list instances"):`` raises what the client and urllib3 raise as a typed error."""

    def __init__(self, provider: str, exceptions: ModuleType, secrets: Sequence[str]) -> None:
        self._text = f"provider {provider} could not"
        self._exceptions = exceptions
        self._secrets = tuple(secrets)

    @contextmanager
    def __call__(self, what: str, *, creates: bool = False) -> Iterator[None]:
        text = f"{self._text} {what}"
        try:
            yield
        except DrmError:
            raise
        except self._exceptions.ApiException as error:
            reason, message = _status_of(error.body)
            said = one_line(message or f"HTTP {error.status} {error.reason}", secrets=self._secrets)
            raise error_of_status(int(error.status or 0), reason, said, text, creates=creates) from None
        except Exception as error:  # no answer, or none of Kubernetes
            said = one_line(f"{type(error).__name__}: {error}", secrets=self._secrets)
            if type(error).__name__ in _NOT_ASKED:
                remedy = "check the network and the server in the kubeconfig"
                raise LostError(f"{text} ({said})", remedy=remedy) from None
            raise (UnknownFateError if creates else DrmError)(f"{text} ({said})") from None


def _status_of(body: object) -> tuple[str, str]:
    """Return reason and message of a Status object, empty where the body is none."""
    try:
        found = json.loads(body) if isinstance(body, str | bytes) else {}
    except ValueError:
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    return str(found.get("reason") or ""), str(found.get("message") or "")
