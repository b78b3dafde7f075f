"""What an error of the docker daemon, or of the way to it, means."""

from __future__ import annotations

from types import ModuleType, TracebackType

from drm.cloud_provider_manager.messages import one_line
from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    LostError,
    ThrottledError,
    UnauthorisedError,
    UnknownFateError,
)

_START = "is dockerd running, and is DOCKER_HOST right?"


class Asking:
    """``with asking("list instances"):`` raises what docker-py and requests raise as a typed error."""

    def __init__(self, provider: str, docker: ModuleType) -> None:
        self._provider = provider
        self._docker = docker

    def __call__(self, what: str, *, creates: bool = False, missing_is_fine: bool = False) -> _Asked:
        return _Asked(self._provider, self._docker, what, creates, missing_is_fine)


class _Asked:
    def __init__(self, provider: str, docker: ModuleType, what: str, creates: bool, missing_is_fine: bool) -> None:
        self._docker = docker
        self._text = f"provider {provider} could not {what}"
        self._creates = creates
        self._missing_is_fine = missing_is_fine

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, DrmError):
            return False
        if isinstance(error, self._docker.errors.ImageNotFound):
            return False
        if isinstance(error, self._docker.errors.APIError):
            if self._missing_is_fine and error.status_code in (404, 409):  # 409: it is being removed
                return True
            raise self._of_answer(error.status_code, one_line(error.explanation or error)) from error
        raise self._of_way(error) from error

    def _of_answer(self, status: int | None, said: str) -> DrmError:
        if status in (401, 403):
            return UnauthorisedError(f"{self._text} ({said})", remedy="check who may use this daemon")
        if status == 429:
            return ThrottledError(f"{self._text} ({said})", remedy="ask later")
        if "no space left" in said or "cannot allocate memory" in said:
            return CapacityError(f"{self._text} ({said})", remedy="free some of the machine")
        if status is not None and 400 <= status < 500:
            return ConfigError(f"{self._text} ({said})")
        if any(cause in said for cause in _OURS):
            return ConfigError(f"{self._text} ({said})")
        return UnknownFateError(f"{self._text} ({said})") if self._creates else DrmError(f"{self._text} ({said})")

    def _of_way(self, error: Exception) -> DrmError:
        chain = _causes(error)
        said = one_line(error)
        if any(isinstance(cause, PermissionError) for cause in chain):
            return UnauthorisedError(f"{self._text} ({said})", remedy="check who may use its socket")
        if any(isinstance(cause, ConnectionRefusedError | FileNotFoundError) for cause in chain):
            return LostError(f"{self._text} ({said})", remedy=_START)
        if isinstance(error, self._docker.errors.DockerException):  # also what from_env finds wrong
            return ConfigError(f"{self._text} ({said})", remedy=_START)
        if self._creates:
            return UnknownFateError(f"{self._text} ({said})")
        return LostError(f"{self._text} ({said})", remedy=_START)


# What runc and the daemon say of a request that can never be met, with status 500.
_OURS = (
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "could not select device driver",
    "invalid mount",
    "network mode",
)


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and all that it wraps: requests and urllib3 keep them as causes, contexts and arguments."""
    found: list[BaseException] = []
    left = [error]
    while left:
        each = left.pop()
        if any(each is known for known in found):
            continue
        found.append(each)
        inner = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        left += [other for other in inner if isinstance(other, BaseException)]
    return found
