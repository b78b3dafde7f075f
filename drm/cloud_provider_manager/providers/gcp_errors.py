"""What an error of Compute Engine means, whether it comes with the answer or with the operation that follows.

Reasons: docs.cloud.google.com/compute/docs/troubleshooting/troubleshooting-vm-creation, .../docs/api/errors, and
.../compute/docs/resource-error (ZONE_RESOURCE_POOL_EXHAUSTED).
"""

from __future__ import annotations

from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    DuplicateError,
    LostError,
    QuotaError,
    ThrottledError,
    UnauthorisedError,
    UnknownFateError,
)

__all__ = ["MissingError", "error_of_operation", "error_of_reason"]

_CAPACITY = {
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "REGION_RESOURCE_POOL_EXHAUSTED",
    "RESOURCE_POOL_EXHAUSTED",
    "STOCKOUT",
    "stockout",
    "UNSUPPORTED_OPERATION",  # of a machine type that this zone has not: others may
}
_QUOTA = {"QUOTA_EXCEEDED", "quotaExceeded", "LIMIT_EXCEEDED", "limitExceeded", "IP_SPACE_EXHAUSTED"}
_THROTTLED = {
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "RATE_LIMIT_EXCEEDED",
    "concurrentLimitExceeded",
    "RESOURCE_OPERATION_RATE_EXCEEDED",
    "dailyLimitExceeded",
}
_UNAUTHORISED = {
    "authError",
    "forbidden",
    "required",
    "insufficientPermissions",
    "accessNotConfigured",
    "PERMISSIONS_ERROR",
    "SERVICE_ACCOUNT_ACCESS_DENIED",
    "billingNotEnabled",
    "UNAUTHENTICATED",
    "expired",
}
_UNKNOWN = {"backendError", "internalError", "INTERNAL_ERROR", "INTERNAL_ERROR_WITH_DETAILS", "TIMEOUT"}
_TAKEN = {"alreadyExists", "RESOURCE_ALREADY_EXISTS"}


class MissingError(LostError):
    """Compute Engine has no such thing. (Where it was not reached, that is a LostError too, and says nothing.)"""


def error_of_reason(reason: str, status: int, message: str, *, creates: bool = False) -> DrmError:
    """Return the error that a reason, or the HTTP status where there is none, stands for. ``message`` is ours, whole.

    DuplicateError: something of that name is there. What says nothing of a create is UnknownFateError.
    """
    if reason in _CAPACITY:
        return CapacityError(message, remedy="ask in another zone, for another type, or later")
    if reason in _QUOTA:
        return QuotaError(message, remedy="ask Google for a higher quota, or run fewer workers")
    if reason in _THROTTLED or status == 429:
        return ThrottledError(message, remedy="ask later")
    if reason in _UNAUTHORISED or status in (401, 403):
        return UnauthorisedError(message, remedy="check the credentials, what they allow, and this machine's clock")
    if reason in _TAKEN or status == 409:
        return DuplicateError(message)
    if status == 404:
        return ConfigError(message) if creates else MissingError(message)
    if reason in _UNKNOWN or status >= 500 or not 400 <= status < 500:
        return UnknownFateError(message) if creates else DrmError(message, remedy="ask later")
    return ConfigError(message)


def error_of_operation(code: str, message: str) -> DrmError:
    """Return the error with which the operation of a create has ended: there is no instance.

    A code that is not known is of configuration: RESOURCE_NOT_FOUND, INVALID_USAGE and their like.
    """
    if code in _UNKNOWN or not code:
        return UnknownFateError(message)
    return error_of_reason(code, 400, message, creates=True)
