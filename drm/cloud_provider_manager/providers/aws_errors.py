"""What an error code of EC2 means: docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html."""

from __future__ import annotations

from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    LostError,
    QuotaError,
    ThrottledError,
    UnauthorisedError,
    UnknownFateError,
)

__all__ = ["error_of_code"]

_CAPACITY = {
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientCapacity",
    "InsufficientFreeAddressesInSubnet",
    "SpotMaxPriceTooLow",
    "Unsupported",  # a type that this zone has not: others may
}
_QUOTA = {
    "InstanceLimitExceeded",
    "VcpuLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "VolumeLimitExceeded",
    "NetworkInterfaceLimitExceeded",
    "AddressLimitExceeded",
}
_THROTTLED = {
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "RequestThrottledException",
    "EC2ThrottledException",
    "InstanceCreditSpecification.RateLimited",
}
_UNAUTHORISED = {
    "AuthFailure",
    "UnauthorizedOperation",
    "AccessDenied",
    "AccessDeniedException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "OptInRequired",
    "PendingVerification",
    "Blocked",
}
_LOST = {"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"}
_UNKNOWN = {"InternalError", "InternalFailure", "Unavailable", "ServiceUnavailable", "RequestTimeout"}


def error_of_code(code: str, status: int, message: str, *, creates: bool = False) -> DrmError:
    """Return the error that an answer with this code and HTTP status stands for; ``message`` is ours, whole.

    An answer that says nothing of what was done is UnknownFateError for a create, DrmError for what only reads.
    """
    if code in _CAPACITY:
        return CapacityError(message, remedy="ask in another zone, for another type, or later")
    if code in _QUOTA:
        return QuotaError(message, remedy="ask AWS for a higher quota, or run fewer workers")
    if code in _THROTTLED:
        return ThrottledError(message, remedy="ask later")
    if code in _UNAUTHORISED:
        return UnauthorisedError(message, remedy="check the credentials, what they allow, and this machine's clock")
    if code in _LOST:
        return LostError(message)
    if code in _UNKNOWN or status >= 500 or not code:
        return UnknownFateError(message) if creates else DrmError(message, remedy="ask later")
    return ConfigError(message)
