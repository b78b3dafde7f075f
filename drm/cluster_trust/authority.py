"""Making an authority, the certificates it signs, and a token.

The authority's key signs both certificates and is then thrown away: nobody can add a third later, and there is one
secret less to guard. Rotation is therefore making all of them anew.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from drm.cluster_trust.credentials import CA, CERTIFICATE, COORDINATOR, KEY, TOKEN, WORKER
from drm.model.errors import ConfigError, DrmError

VALID_DAYS = 365
_BEFORE = timedelta(days=1)  # a clock that is hours slow accepts them too
_MOST_NAMES = 1100  # a network of 1,024 addresses makes a certificate of 8 KB, which each handshake carries
_LOCAL = ("localhost", "127.0.0.1", "::1")


def make_trust(
    folder: Path,
    *,
    coordinator: Sequence[str],
    workers: Sequence[str],
    days: int = VALID_DAYS,
    replace: bool = False,
    now: datetime | None = None,
) -> tuple[Path, Path]:
    """Make ``folder`` with credentials of the coordinator and of workers; return the two folders.

    ``coordinator``, ``workers``: names, addresses or networks (``10.0.0.0/24``) under which they are reached; loopback
    always is. ConfigError for one that is neither, or where the folder is there already and not to be replaced.
    The folder appears whole or not at all; its files are of mode 0600, in folders of mode 0700.
    """
    names = {COORDINATOR: _alternative_names(coordinator), WORKER: _alternative_names(workers)}
    if folder.exists() and not replace:
        raise ConfigError(
            f"{folder} is there already", remedy="--replace makes new ones; workers then need the new folder"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 0700
        try:
            _fill(made, names, days, now or datetime.now(UTC))
            _put_in_place(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise DrmError(f"{folder} cannot be written ({error.strerror})", remedy="give another folder") from None
    return folder / COORDINATOR, folder / WORKER


def _put_in_place(made: Path, folder: Path) -> None:
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        folder.rename(old / "old")
        made.rename(folder)
        shutil.rmtree(old)
    else:
        made.rename(folder)


def _fill(folder: Path, names: dict[str, list[Any]], days: int, now: datetime) -> None:
    crypto = cryptography_of()
    key = crypto.ec.generate_private_key(crypto.ec.SECP256R1())
    subject = crypto.name(f"drm cluster {secrets.token_hex(4)}")
    until = now + timedelta(days=days)
    authority = (
        _builder(crypto, subject, subject, key.public_key(), now, until)
        .add_extension(crypto.x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(crypto.key_usage(signs=True), critical=True)
        .add_extension(crypto.x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, crypto.SHA256())
    )
    token = secrets.token_urlsafe(32)
    for role, alternative in names.items():
        own = crypto.ec.generate_private_key(crypto.ec.SECP256R1())
        both = [crypto.ExtendedKeyUsageOID.SERVER_AUTH, crypto.ExtendedKeyUsageOID.CLIENT_AUTH]  # a Ray node is both
        certificate = (
            _builder(crypto, crypto.name(f"drm {role}"), subject, own.public_key(), now, until)
            .add_extension(crypto.x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(crypto.key_usage(signs=False), critical=True)
            .add_extension(crypto.x509.ExtendedKeyUsage(both), critical=False)
            .add_extension(crypto.x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .add_extension(crypto.x509.SubjectAlternativeName(alternative), critical=False)
            .sign(key, crypto.SHA256())
        )
        (folder / role).mkdir(mode=0o700)
        pem = crypto.serialization.Encoding.PEM
        secret = own.private_bytes(pem, crypto.serialization.PrivateFormat.PKCS8, crypto.serialization.NoEncryption())
        _write(folder / role / CA, authority.public_bytes(pem))
        _write(folder / role / CERTIFICATE, certificate.public_bytes(pem))
        _write(folder / role / KEY, secret)
        _write(folder / role / TOKEN, token.encode("ascii"))  # without a line end: Ray takes it as it is


def _builder(crypto: Any, subject: Any, issuer: Any, public_key: Any, now: datetime, until: datetime) -> Any:
    return (
        crypto.x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(crypto.x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(until)
    )


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _alternative_names(given: Sequence[str]) -> list[Any]:
    x509 = cryptography_of().x509
    names: dict[Any, None] = {}
    for text in (*_LOCAL, *given):
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            names[x509.DNSName(_host_name(text))] = None
            continue
        if network.num_addresses > _MOST_NAMES:
            raise ConfigError(
                f"{text} has {network.num_addresses} addresses, and a certificate has room for {_MOST_NAMES}",
                remedy="give smaller networks, such as 10.0.0.0/24",
            )
        names.update(dict.fromkeys(map(x509.IPAddress, network)))
    if len(names) > _MOST_NAMES:
        raise ConfigError(
            f"{len(names)} names and addresses are more than the {_MOST_NAMES} that a certificate has room for",
            remedy="give smaller networks",
        )
    return list(names)


def _host_name(text: str) -> str:
    labels = text.split(".")
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    if not all(label and len(label) < 64 and set(label.lower()) <= allowed for label in labels) or text[-1].isdigit():
        raise ConfigError(
            f"{text!r} is no name, address or network of a host", remedy="write 10.0.0.5, 10.0.0.0/24 or host.example"
        )
    return text.lower()


def cryptography_of() -> Any:
    """Return the parts of ``cryptography`` that are used, under short names; ConfigError where it is not installed."""
    try:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError:
        raise ConfigError(
            "certificates need the package cryptography", remedy="pip install 'drm-testing[ray]'"
        ) from None

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def key_usage(*, signs: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=not signs,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=signs,
            crl_sign=signs,
            encipher_only=False,
            decipher_only=False,
        )

    return SimpleNamespace(
        x509=x509,
        InvalidSignature=InvalidSignature,
        serialization=serialization,
        ec=ec,
        SHA256=SHA256,
        ExtendedKeyUsageOID=ExtendedKeyUsageOID,
        name=name,
        key_usage=key_usage,
    )
