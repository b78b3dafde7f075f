"""Calls of the Compute Engine API over REST: each is made once, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from drm.cloud_provider_manager.extras import load, load_parts
from drm.cloud_provider_manager.messages import one_line
from drm.cloud_provider_manager.providers.gcp_errors import error_of_reason
from drm.model.errors import ConfigError, DrmError, LostError, UnauthorisedError, UnknownFateError

__all__ = ["Compute", "Operation"]

_COMPUTE_ENGINE = "6F81-5844-456A"  # the service's id in the Cloud Billing Catalog
_CREDENTIALS = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"


@dataclass(frozen=True, slots=True)
class Operation:
    """What a change of a zone has come to. ``code`` is empty while it has not failed."""

    name: str
    is_done: bool
    code: str = ""
    message: str = ""


class Compute:
    """The API, for one project. ``credentials``: of google-auth (default: those that it finds). ``billing``: where the
    catalogue of prices is, if not at its own address."""

    def __init__(
        self,
        *,
        provider: str,
        project: str,
        endpoint: str = "",
        billing: str = "",
        timeout_s: float = 30.0,
        credentials: Any = None,
    ) -> None:
        services = ("instances", "zone_operations", "machine_types")
        instances, operations, types, self._messages = load_parts(
            "google.cloud.compute_v1", *(f"services.{name}" for name in services), "types.compute", extra="gcp"
        )
        self._http_errors = load("google.api_core.exceptions", extra="gcp")
        self._auth_errors = load("google.auth.exceptions", extra="gcp")
        self._text = f"provider {provider} could not"
        self._project = project
        self._secrets: tuple[str, ...] = ()
        self._credentials = credentials
        once = {"retry": None, "timeout": timeout_s}  # the library would repeat reads by itself, and no creates
        self._once = once
        self._billing = billing or "https://cloudbilling.googleapis.com"
        options = {"api_endpoint": endpoint} if endpoint else None
        try:
            if credentials is None:
                self._credentials, _ = load("google.auth", extra="gcp").default()
            given = {"transport": "rest", "client_options": options, "credentials": self._credentials}
            self._instances = instances.InstancesClient(**given)
            self._operations = operations.ZoneOperationsClient(**given)
            self._types = types.MachineTypesClient(**given)
        except self._auth_errors.DefaultCredentialsError as error:
            said = one_line(error)
            raise UnauthorisedError(f"{self._text} find credentials ({said})", remedy=_CREDENTIALS) from None
        except (self._http_errors.GoogleAPIError, ValueError) as error:
            raise ConfigError(f"{self._text} be set up ({one_line(error)})") from None

    def insert(self, what: str, zone: str, body: dict[str, Any], request_id: str) -> Operation:
        """Ask for an instance, once; the operation tells what came of it."""
        asked = {"project": self._project, "zone": zone, "instance_resource": body, "request_id": request_id}
        with self._asking(what, creates=True):
            made = self._messages.InsertInstanceRequest(asked)
            return _operation(self._instances.insert_unary(made, **self._once))

    def delete(self, what: str, zone: str, name: str) -> None:
        with self._asking(what):
            self._instances.delete_unary(project=self._project, zone=zone, instance=name, **self._once)

    def get(self, what: str, zone: str, name: str) -> dict[str, Any]:
        """Return an instance; MissingError where there is none."""
        with self._asking(what):
            return _plain(self._instances.get(project=self._project, zone=zone, instance=name, **self._once))

    def instances(self, what: str, label: str) -> list[dict[str, Any]]:
        """Return the instances of all zones that have the label; DrmError where a zone did not answer."""
        asked = {"project": self._project, "filter": f"labels.{label}=1"}
        found: list[dict[str, Any]] = []
        with self._asking(what):
            request = self._messages.AggregatedListInstancesRequest(asked)
            for zone, scope in self._instances.aggregated_list(request, **self._once):
                if scope.warning.code == "UNREACHABLE":
                    raise DrmError(f"{self._text} {what} ({zone} does not answer)", remedy="ask later")
                found += map(_plain, scope.instances)
        return found

    def operation(self, what: str, zone: str, name: str, *, patience_s: float = 0.0) -> Operation:
        """Return the operation as it is; with ``patience_s`` when it is done, or after about that time."""
        given = {"project": self._project, "zone": zone, "operation": name}
        with self._asking(what):
            if patience_s > 0:  # the server holds the call back until the operation is done, two minutes at most
                timeout = {"retry": None, "timeout": max(1.0, patience_s)}
                return _operation(self._operations.wait(**given, **timeout))
            return _operation(self._operations.get(**given, **self._once))

    def machine_types(self, what: str, zone: str) -> list[dict[str, Any]]:
        with self._asking(what):
            return [_plain(each) for each in self._types.list(project=self._project, zone=zone, **self._once)]

    def skus(self, what: str) -> list[dict[str, Any]]:
        """Return all SKUs of Compute Engine, from the Cloud Billing Catalog."""
        session = load("google.auth.transport.requests", extra="gcp").AuthorizedSession(self._credentials)
        found: list[dict[str, Any]] = []
        page = ""
        while True:
            with self._asking(what):
                answer = session.get(
                    f"{self._billing}/v1/services/{_COMPUTE_ENGINE}/skus",
                    params={"pageSize": "5000", "pageToken": page},
                    timeout=self._once["timeout"],
                )
                if answer.status_code != 200:
                    raise self._http_errors.from_http_response(answer)
                content = answer.json()
                found += content.get("skus") or []
                page = content.get("nextPageToken") or ""
            if not page:
                return found

    def said(self, text: object) -> str:
        """Return a text of the API as one line without secrets."""
        token = str(getattr(self._credentials, "token", "") or "")  # it changes when it is renewed
        return one_line(text, secrets=(token,))

    @contextmanager
    def _asking(self, what: str, *, creates: bool = False) -> Iterator[None]:
        text = f"{self._text} {what}"
        try:
            yield
        except DrmError:
            raise
        except self._http_errors.GoogleAPICallError as error:
            reasons = [each.get("reason", "") for each in error.errors or () if isinstance(each, dict)]
            said = self.said(error.message)
            status = int(error.code or 0)
            raise error_of_reason(next(iter(reasons), ""), status, f"{text} ({said})", creates=creates) from None
        except self._auth_errors.RefreshError as error:
            raise UnauthorisedError(f"{text} ({self.said(error)})", remedy=_CREDENTIALS) from None
        except Exception as error:  # no answer, or none of Compute Engine
            said = self.said(f"{type(error).__name__}: {error}")
            if "NewConnectionError" in said or "ConnectTimeout" in said or "NameResolutionError" in said:
                raise LostError(f"{text} ({said})", remedy="check the network and the endpoint") from None
            raise (UnknownFateError if creates else DrmError)(f"{text} ({said})") from None


def _plain(message: Any) -> dict[str, Any]:
    """Return a message of the API as a dictionary, its fields named with underscores."""
    found = type(message).to_dict(message, use_integers_for_enums=False)
    return found if isinstance(found, dict) else {}


def _operation(found: Any) -> Operation:
    errors = list(found.error.errors)
    return Operation(
        name=str(found.name),
        is_done=found.status.name == "DONE",
        code=str(errors[0].code) if errors else "",
        message=str(errors[0].message) if errors else "",
    )
