"""A folder of credentials: the authority's certificate, a certificate with its key, and the token."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from drm.model.errors import ConfigError, UnauthorisedError

COORDINATOR, WORKER = "coordinator", "worker"
CA, CERTIFICATE, KEY, TOKEN = "ca.pem", "cert.pem", "key.pem", "token"
FILES = (CA, CERTIFICATE, KEY, TOKEN)
_SECRET = (KEY, TOKEN)
_SOON_DAYS = 14


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials that were looked at and fit together. ``expires``: UTC; its ``repr`` holds no secret."""

    folder: Path
    expires: datetime

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def token(self) -> bytes:
        """Return the token's bytes; UnauthorisedError where it cannot be read any more."""
        try:
            return (self.folder / TOKEN).read_bytes().strip()
        except OSError as error:
            raise _unreadable(self.folder / TOKEN, error) from None

    def context(self, *, server: bool) -> ssl.SSLContext:
        """Return the TLS settings of one side: TLS 1.3, both sides show a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.path(CA))
        context.load_cert_chain(self.path(CERTIFICATE), self.path(KEY))
        return context

    def warning(self, now: datetime) -> str:
        """Return a line where the certificate expires soon, else an empty string."""
        left = (self.expires - now).days
        if left >= _SOON_DAYS:
            return ""
        return (
            f"the certificate in {self.folder} expires on {self.expires:%Y-%m-%d}; make new ones before that "
            "(drm coordinator --init --replace) and copy the worker folder again"
        )


def default_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where credentials lie: ``$DRM_CLUSTER_FOLDER``, else ``~/.drm/cluster``; in it one folder per role."""
    given = environment.get("DRM_CLUSTER_FOLDER")
    return Path(given) if given else Path.home() / ".drm" / "cluster"


def environment(folder: Path) -> dict[str, str]:
    """Return what Ray must find in its environment before it is imported; empty where there are no credentials.

    Names and meaning: Ray 2.60, "Token authentication" and "TLS authentication". Only paths are in it, no secret.
    """
    folder = folder.absolute()
    if not folder.exists():
        return {}
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN),
        "RAY_USE_TLS": "1",
        "RAY_TLS_CA_CERT": str(folder / CA),
        "RAY_TLS_SERVER_CERT": str(folder / CERTIFICATE),
        "RAY_TLS_SERVER_KEY": str(folder / KEY),
    }


def load_credentials(folder: Path, now: datetime | None = None) -> Credentials:
    """Read a folder and see that its parts fit together.

    ConfigError: something is missing, or others may read a secret. UnauthorisedError: expired, or the parts do not
    belong together. Each says what to do.
    """
    for name in FILES:
        _check_file(folder / name)
    expires = _check_certificates(folder, now or datetime.now(UTC))
    return Credentials(folder.absolute(), expires)


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is missing",
            remedy="make credentials on the coordinator (drm coordinator --init) and copy the worker folder here",
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if not content.strip():
        raise ConfigError(f"{path} is empty", remedy="copy the folder from the coordinator again")
    if path.name in _SECRET and stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(
            f"{path} may be read by other users (mode {stat.S_IMODE(found.st_mode):04o})",
            remedy=f"chmod 600 {path}",
        )


def _unreadable(path: Path, error: OSError) -> UnauthorisedError:
    return UnauthorisedError(f"{path}: {error.strerror}", remedy="give the file to the user who runs drm")


def _check_certificates(folder: Path, now: datetime) -> datetime:
    from drm.cluster_trust.authority import cryptography_of

    crypto = cryptography_of()
    again = "copy the folder from the coordinator again, or make new ones (drm coordinator --init --replace)"
    try:
        certificate = crypto.x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
        authority = crypto.x509.load_pem_x509_certificate((folder / CA).read_bytes())
    except ValueError:
        raise UnauthorisedError(f"{folder} holds no readable certificates", remedy=again) from None
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, crypto.InvalidSignature):
        raise UnauthorisedError(f"{folder / CERTIFICATE} is of another authority than {CA}", remedy=again) from None
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise UnauthorisedError(
            f"{folder / CERTIFICATE} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d} and this machine's clock says {now:%Y-%m-%d}",
            remedy="set the clock, or make new ones (drm coordinator --init --replace)",
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / CERTIFICATE, folder / KEY)
    except (ssl.SSLError, ValueError):
        raise UnauthorisedError(f"{folder / KEY} is not the key of {CERTIFICATE}", remedy=again) from None
    expires: datetime = min(certificate.not_valid_after_utc, authority.not_valid_after_utc)
    return expires
