"""The part of the Compute Engine API that instances of DRM need. (Google has no emulator of it.)

It follows the reference of the REST API v1 (docs.cloud.google.com/compute/docs/reference/rest/v1): instances.insert
with requestId ("the server will know to ignore the request if it has already been completed"), zoneOperations.get and
wait, aggregatedList with its pages and warnings, and errors as ``{"error": {"code", "message", "errors": [...]}}``.
What an operation fails with is from "Troubleshooting VM creation": ZONE_RESOURCE_POOL_EXHAUSTED, QUOTA_EXCEEDED.
"""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from fake_http import Answer, Asked, HangUpError, Json, serving

TOKEN = "canary-oauth-token"
PROJECT = "drm-project"
IMAGE = "projects/drm-project/global/images/tests-1"
GCP_ZONES = ("us-central1-a", "us-central1-b")
MACHINE_TYPES = {"n2-standard-2": (2, 8192), "n2-standard-8": (8, 32768)}
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}\Z")
_ROOT = f"/compute/v1/projects/{PROJECT}"
_PATH = re.compile(rf"{_ROOT}/zones/([^/]+)/(instances|operations|machineTypes)(?:/([^/]+))?(/wait)?\Z")


class _Refusal(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class FakeCompute:
    """A project. ``set`` sets what goes wrong, and empties it.

    ``no_capacity``: (zone, machine type or "", provisioning model or ""). ``quota_cpus``: of the region.
    ``refuse``: (status, reason, message) for inserts. ``fail``: (code, message) with which operations of inserts end.
    ``waits``: how many looks an operation takes. ``lingers``: how many looks a deleted instance takes to go.
    ``unseen``: how many of the next lists and gets show nothing. ``unreachable``: a zone that does not answer.
    """

    def __init__(self) -> None:
        self.url = ""
        self.set()

    def set(
        self,
        *,
        no_capacity: tuple[tuple[str, str, str], ...] = (),
        quota_cpus: int | None = None,
        refuse: tuple[int, str, str] | None = None,
        fail: tuple[str, str] | None = None,
        waits: int = 0,
        lingers: int = 1,
        unseen: int = 0,
        unreachable: str = "",
        lose_request: int = 0,
        lose_answer: int = 0,
        garbage: int = 0,
    ) -> None:
        self.no_capacity, self.quota_cpus, self.refuse, self.fail = no_capacity, quota_cpus, refuse, fail
        self.waits, self.lingers, self.unseen, self.unreachable = waits, lingers, unseen, unreachable
        self.left = {"lose_request": lose_request, "lose_answer": lose_answer, "garbage": garbage}
        self.instances: dict[tuple[str, str], Json] = {}
        self.operations: dict[str, Json] = {}
        self.calls: list[Asked] = []
        self._requests: dict[str, str] = {}
        self._lingering: dict[tuple[str, str], int] = {}
        self._waiting: dict[str, int] = {}

    @contextmanager
    def serving(self) -> Iterator[FakeCompute]:
        with serving(self.answer) as self.url:
            yield self

    def inserts(self) -> list[Asked]:
        return [call for call in self.calls if call.method == "POST" and call.path.endswith("/instances")]

    # -- what happens behind a client's back

    def end(self, instance_id: str) -> None:
        """Delete an instance, as its maxRunDuration or a preemption with instanceTerminationAction=DELETE does."""
        del self.instances[self._key(instance_id)]

    def become(self, instance_id: str, status: str) -> None:
        self.instances[self._key(instance_id)]["status"] = status

    def make_untagged(self) -> str:
        key = (GCP_ZONES[0], "somebody")
        self.instances[key] = {"name": key[1], "zone": f"zones/{key[0]}", "status": "RUNNING", "labels": {}}
        return "/".join(key)

    @staticmethod
    def _key(instance_id: str) -> tuple[str, str]:
        zone, _, name = instance_id.partition("/")
        return zone, name

    # -- the API

    def answer(self, asked: Asked) -> Answer:
        self.calls.append(asked)
        try:
            return self._answer(asked)
        except _Refusal as error:
            each = {"message": str(error), "domain": "global", "reason": error.reason}
            return Answer(error.status, {"error": {"code": error.status, "message": str(error), "errors": [each]}})

    def _answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise _Refusal(401, "authError", "Request had invalid authentication credentials.")
        if asked.path == f"{_ROOT}/aggregated/instances":
            return self._aggregated(asked)
        found = _PATH.match(asked.path)
        if found is None:
            raise _Refusal(404, "notFound", f"The resource '{asked.path}' was not found")
        zone, kind, name, waits = found.groups()
        if zone not in GCP_ZONES:
            raise _Refusal(404, "notFound", f"The resource 'projects/{PROJECT}/zones/{zone}' was not found")
        if kind == "operations":
            return Answer(200, self._operation(name, waits=bool(waits)))
        if kind == "machineTypes":
            return self._machine_types(zone, asked)
        if asked.method == "POST":
            return self._insert(zone, asked)
        instance = self._instance(zone, name)
        if asked.method == "DELETE":
            instance["status"] = "STOPPING"
            self._lingering[(zone, name)] = self.lingers
            return Answer(200, self._started(zone, "delete", name))
        return Answer(200, copy.deepcopy(instance))

    def _machine_types(self, zone: str, asked: Asked) -> Answer:
        """Return one type a page."""
        names = sorted(MACHINE_TYPES)
        at = int(asked.query.get("pageToken", "0"))
        cpus, memory = MACHINE_TYPES[names[at]]
        item = {"name": names[at], "guestCpus": cpus, "memoryMb": memory, "zone": zone, "architecture": "X86_64"}
        page = {"nextPageToken": str(at + 1)} if at + 1 < len(names) else {}
        return Answer(200, {"kind": "compute#machineTypeList", "items": [item], **page})

    def _insert(self, zone: str, asked: Asked) -> Answer:
        if self._has("lose_request"):
            raise HangUpError
        if self.refuse is not None:
            raise _Refusal(*self.refuse)
        request_id = asked.query.get("requestId", "")
        if request_id:
            uuid.UUID(request_id)  # the API takes nothing else
        if request_id in self._requests:
            operation = self.operations[self._requests[request_id]]
        else:
            operation = self._inserted(zone, asked.body)
            if request_id:
                self._requests[request_id] = operation["name"]
        if self._has("lose_answer"):
            raise HangUpError
        if self._has("garbage"):
            return Answer(200, f"<html>the token is {TOKEN}\n</html")
        return Answer(200, copy.deepcopy(operation))

    def _has(self, fault: str) -> bool:
        there = self.left[fault] > 0
        self.left[fault] -= there
        return there

    def _inserted(self, zone: str, body: Json) -> Json:
        name, kind = body["name"], body["machineType"].rpartition("/")[2]
        if not _NAME.match(name) or not all(map(_LABEL.match, (body.get("labels") or {}).values())):
            raise _Refusal(400, "invalid", f"Invalid value for field 'resource.name' or 'resource.labels': '{name}'")
        image = body["disks"][0]["initializeParams"]["sourceImage"]
        if image != IMAGE:
            raise _Refusal(404, "notFound", f"The resource '{image}' was not found")
        if kind not in MACHINE_TYPES:
            raise _Refusal(400, "invalid", f"Invalid value for field 'resource.machineType': '{kind}'")
        if (zone, name) in self.instances:
            where = f"projects/{PROJECT}/zones/{zone}/instances/{name}"
            raise _Refusal(409, "alreadyExists", f"The resource '{where}' already exists")
        failure = self.fail or self._shortage(zone, kind, body["scheduling"]["provisioningModel"])
        if failure is None:
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
            facts = {"zone": f"https://www.googleapis.com/{_ROOT}/zones/{zone}", "creationTimestamp": stamp}
            self.instances[(zone, name)] = {**copy.deepcopy(body), **facts, "id": "1", "status": "PROVISIONING"}
        return self._started(zone, "insert", name, failure)

    def _shortage(self, zone: str, kind: str, model: str) -> tuple[str, str] | None:
        for where, what, how in self.no_capacity:
            if where == zone and what in ("", kind) and how in ("", model):
                resource = f"The zone 'projects/{PROJECT}/zones/{zone}' does not have enough resources available"
                return "ZONE_RESOURCE_POOL_EXHAUSTED", f"{resource} to fulfill the request. Try a different zone."
        cpus = MACHINE_TYPES[kind][0] + sum(
            MACHINE_TYPES[each["machineType"].rpartition("/")[2]][0] for each in self.instances.values()
        )
        if self.quota_cpus is not None and cpus > self.quota_cpus:
            return "QUOTA_EXCEEDED", f"Quota 'CPUS' exceeded.  Limit: {self.quota_cpus}.0 in region us-central1."
        return None

    def _started(self, zone: str, kind: str, target: str, failure: tuple[str, str] | None = None) -> Json:
        name = f"operation-{len(self.operations) + 1}"
        operation: Json = {"kind": "compute#operation", "name": name, "zone": zone, "operationType": kind}
        self.operations[name] = operation | {"status": "RUNNING", "targetLink": target}
        self._waiting[name] = self.waits
        if failure is not None:
            code, message = failure
            error = {"errors": [{"code": code, "message": message}]}
            status = {"httpErrorStatusCode": 503, "httpErrorMessage": "SERVICE UNAVAILABLE"}
            self.operations[name]["_then"] = {"error": error, **status}
        return {key: value for key, value in self.operations[name].items() if key != "_then"}

    def _operation(self, name: str, *, waits: bool) -> Json:
        if name not in self.operations:
            raise _Refusal(404, "notFound", f"The resource '{name}' was not found")
        operation = self.operations[name]
        if self._waiting[name] > 0:
            self._waiting[name] -= 1
        elif operation["status"] != "DONE":
            operation |= {"status": "DONE", "progress": 100, **operation.pop("_then", {})}
            key = (operation["zone"], operation["targetLink"])
            if operation["operationType"] == "insert" and key in self.instances:
                self.instances[key]["status"] = "RUNNING"
        return {key: value for key, value in operation.items() if key != "_then"}

    def _instance(self, zone: str, name: str) -> Json:
        self._go()
        hidden = self.unseen > 0
        self.unseen -= hidden
        if hidden or (zone, name) not in self.instances:
            where = f"projects/{PROJECT}/zones/{zone}/instances/{name}"
            raise _Refusal(404, "notFound", f"The resource '{where}' was not found")
        return self.instances[(zone, name)]

    def _go(self) -> None:
        for key, looks in list(self._lingering.items()):
            self._lingering[key] -= 1
            if looks <= 0:
                self.instances.pop(key, None)
                del self._lingering[key]

    def _aggregated(self, asked: Asked) -> Answer:
        """Return one zone a page."""
        self._go()
        hidden = self.unseen > 0
        self.unseen -= hidden
        label = asked.query.get("filter", "").removeprefix("labels.").partition("=")[0]
        zone = asked.query.get("pageToken") or GCP_ZONES[0]
        rows = [
            copy.deepcopy(each)
            for (where, _), each in self.instances.items()
            if where == zone and (each.get("labels") or {}).get(label) == "1" and not hidden
        ]
        scope: dict[str, Any] = {"instances": rows} if rows else {"warning": {"code": "NO_RESULTS_ON_PAGE"}}
        if self.unreachable == zone:
            scope = {"warning": {"code": "UNREACHABLE", "message": f"The zone {zone} is unreachable"}}
        following = GCP_ZONES[GCP_ZONES.index(zone) + 1 :][:1]
        page = {"nextPageToken": following[0]} if following else {}
        return Answer(200, {"kind": "compute#instanceAggregatedList", "items": {f"zones/{zone}": scope}, **page})
