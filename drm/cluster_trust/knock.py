"""The other side of the door: asking to join, with one clear error for everything that can be wrong."""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from drm.cluster_trust.credentials import COORDINATOR, WORKER, Credentials
from drm.cluster_trust.door import STRANGER
from drm.cluster_trust.handshake import Line, is_proof, proof
from drm.model.errors import ConfigError, LostError, UnauthorisedError

TIMEOUT_S = 5.0


def knock(
    host: str, port: int, credentials: Credentials, facts: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Ask a coordinator to be let in; return what it grants. Takes ``timeout_s`` seconds at most.

    LostError: nobody is there, or does not answer. UnauthorisedError: certificate or token do not fit.
    ConfigError: the coordinator names what does not fit, one line each.
    """
    with _connected(host, port, credentials, timeout_s) as (tls, deadline):
        subject = tls.getpeercert() or {}
        if (("commonName", f"drm {COORDINATOR}"),) not in subject.get("subject", ()):
            raise UnauthorisedError(
                f"{host}:{port} shows a certificate that is no coordinator's", remedy="give the coordinator's address"
            )
        line = Line(tls, deadline)
        nonces = (str(line.hear().get("nonce")), secrets.token_hex(16))
        token = credentials.token()
        line.say({"nonce": nonces[1], "proof": proof(token, WORKER, nonces), "facts": facts})
        said = line.hear()
        refused = [str(reason) for reason in said.get("refused") or ()]
        if refused == [STRANGER]:
            raise UnauthorisedError(STRANGER)
        if not is_proof(said.get("proof"), token, COORDINATOR, nonces):
            raise UnauthorisedError(STRANGER)
        if refused:
            raise ConfigError("\n".join(refused))
        return dict(said.get("granted") or {})


def probe_port(host: str, port: int, credentials: Credentials, *, timeout_s: float = TIMEOUT_S) -> None:
    """See that a port of Ray (gRPC, which speaks first) takes these certificates; the same errors as ``knock``."""
    with _connected(host, port, credentials, timeout_s, protocol="h2") as (tls, _):
        if not tls.recv(1):  # with TLS 1.3 a server that refuses says so only now
            raise LostError(f"{host}:{port} hung up at once", remedy="see that it is a coordinator of drm")


@contextmanager
def _connected(
    host: str, port: int, credentials: Credentials, timeout_s: float, *, protocol: str = ""
) -> Iterator[tuple[ssl.SSLSocket, float]]:
    where = f"{host}:{port}"
    deadline = time.monotonic() + timeout_s
    context = credentials.context(server=False)
    if protocol:
        context.set_alpn_protocols([protocol])
    copy = "copy the worker folder from the coordinator again"
    if credentials.folder.name == COORDINATOR:  # a run, on the coordinator's host
        copy = "end that coordinator and start it again, for its credentials were replaced"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as sock:
            sock.settimeout(max(0.01, deadline - time.monotonic()))
            with context.wrap_socket(sock, server_hostname=host) as tls:
                yield tls, deadline
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            raise UnauthorisedError(
                f"the certificate of the coordinator is not made for {host}",
                remedy=f"make new ones with that address (drm coordinator --init --replace --host {host})",
            ) from None
        raise UnauthorisedError(
            f"the coordinator at {where} has a certificate of another authority ({error.verify_message})", remedy=copy
        ) from None
    except ssl.SSLError as error:
        if "alert" in str(error).lower():
            raise UnauthorisedError(
                f"the coordinator at {where} refuses the certificate in {credentials.folder} ({error.reason})",
                remedy=copy,
            ) from None
        raise LostError(
            f"{where} does not speak TLS ({error.reason})", remedy="see that it is a coordinator of drm, with security"
        ) from None
    except TimeoutError:
        raise LostError(
            f"{where} did not answer within {timeout_s:g} s",
            remedy="see that the coordinator runs, and that no firewall is between",
        ) from None
    except LostError as error:
        if error.remedy:
            raise
        raise LostError(f"{where}: {error}", remedy="see that it is a coordinator of drm") from None
    except OSError as error:
        raise LostError(
            f"{where} cannot be reached ({error.strerror or error})",
            remedy="see that the coordinator runs, and that its address is right",
        ) from None
