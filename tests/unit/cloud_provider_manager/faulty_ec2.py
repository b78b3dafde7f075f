"""moto's EC2 as a server whose faults are set by the test: ``python faulty_ec2.py`` prints its port.

moto itself never lacks capacity, never throttles, always answers, and makes a second instance for a ClientToken that
it has seen. ``POST /faults`` sets faults (a JSON object), ``POST /reset`` does too and forgets all instances,
``GET /calls`` returns the RunInstances and CreateFleet that were asked for.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "1"
os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "1"
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # they take seconds

from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Environ = dict[str, Any]
Answer = tuple[str, list[tuple[str, str]], bytes]
_ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>
<RequestID>7a62c49f-347e-4fc4-9331-6e8eEXAMPLE</RequestID></Response>"""
_NONE = b"""<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<requestId>8f7724cf-496f-496e-8fe3-example</requestId><reservationSet/></DescribeInstancesResponse>"""
_NO_FLEET = """<CreateFleetResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<requestId>8f7724cf-496f-496e-8fe3-example</requestId><fleetId>fleet-1</fleetId><fleetInstanceSet/>
<errorSet><item><errorCode>{code}</errorCode><errorMessage>{message}</errorMessage></item></errorSet>
</CreateFleetResponse>"""
_NO_CAPACITY = "We currently do not have sufficient capacity in the Availability Zone you requested ({zone})."


class FaultyEc2:
    """A WSGI application around another.

    Faults: ``no_capacity`` a list of [zone, type or "", market or ""]; ``refuse`` {code, status, message, times};
    ``lose_request``, ``lose_answer``, ``garbage``: how many of the next creates; ``unseen``: how many of the next
    DescribeInstances show nothing.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._faults: dict[str, Any] = {}
        self._calls: list[dict[str, str]] = []
        self._answers: dict[str, Answer] = {}

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"]
        if path in ("/faults", "/reset"):
            if path == "/reset":
                _forget_instances()
            self._faults = json.loads(body)
            self._calls, self._answers = [], {}
            status, headers, content = "200 OK", [], b"{}"
        elif path == "/hide":
            self._faults.update(json.loads(body))
            status, headers, content = "200 OK", [], b"{}"
        elif path == "/calls":
            status, headers, content = "200 OK", [], json.dumps(self._calls).encode()
        else:
            status, headers, content = self._answer(environ, body)
        start_response(status, [*headers, ("Content-Length", str(len(content)))])
        return [content]

    def _answer(self, environ: Environ, body: bytes) -> Answer:
        asked = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        action = asked.get("Action", "")
        if action == "CreateFleet":
            asked |= _as_run(asked)
        dry = (self._faults.get("refuse") or {}).get("dry")
        if action in ("RunInstances", "CreateFleet") and (dry or asked.get("DryRun") != "true"):
            self._calls.append(asked)
            return self._run(environ, body, asked)
        if action == "DescribeInstances" and self._take("unseen"):
            if any(name.startswith("InstanceId") for name in asked):
                return _error("400 BAD REQUEST", "InvalidInstanceID.NotFound", "The instance ID does not exist")
            return "200 OK", [("Content-Type", "text/xml")], _NONE
        return self._forward(environ, body)

    def _run(self, environ: Environ, body: bytes, asked: dict[str, str]) -> Answer:
        if self._take("lose_request"):
            return self._hang_up(environ)
        refusal = self._faults.get("refuse")
        if refusal and refusal.get("times", 1) > 0:
            refusal["times"] = refusal.get("times", 1) - 1
            return _error(refusal["status"], refusal["code"], refusal["message"])
        zone = asked.get("Placement.AvailabilityZone", "")
        market = asked.get("InstanceMarketOptions.MarketType", "on-demand")
        token = asked.get("ClientToken", "")
        if token not in self._answers:
            for where, kind, how in self._faults.get("no_capacity", ()):
                if where == zone and kind in ("", asked["InstanceType"]) and how in ("", market):
                    message = _NO_CAPACITY.format(zone=zone)
                    if asked["Action"] == "CreateFleet":
                        code = "InsufficientInstanceCapacity"
                        fleet = _NO_FLEET.format(code=code, message=message).encode()
                        self._answers[token] = "200 OK", [("Content-Type", "text/xml")], fleet
                        return self._answers[token]
                    return _error("500 Internal Server Error", "InsufficientInstanceCapacity", message)
            answer = self._forward(environ, body)
            if answer[0].startswith("200"):
                self._answers[token] = answer
            else:
                return answer
        if self._take("lose_answer"):
            return self._hang_up(environ)
        if self._take("garbage"):
            return "200 OK", [("Content-Type", "text/html")], b"<html>the secret is canary-secret-key\n</html"
        return self._answers[token]

    def _take(self, fault: str) -> bool:
        left = int(self._faults.get(fault, 0))
        self._faults[fault] = max(0, left - 1)
        return left > 0

    def _hang_up(self, environ: Environ) -> Answer:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return "200 OK", [], b""

    def _forward(self, environ: Environ, body: bytes) -> Answer:
        found: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], _info: Any = None) -> None:
            found.update(status=status, headers=[each for each in headers if each[0].lower() != "content-length"])

        inner = {**environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        content = b"".join(self._inner(inner, start))
        return found["status"], found["headers"], content


def _forget_instances() -> None:
    """End all instances and forget them: moto would show those that have ended for ever, and take ever longer.

    (moto's own reset takes as long as a start.)
    """
    for regions in get_backend("ec2").values():
        for backend in regions.values():
            for instance in [each for held in backend.reservations.values() for each in held.instances]:
                if instance.state != "terminated":
                    instance.terminate()
            backend.reservations.clear()


def _as_run(asked: dict[str, str]) -> dict[str, str]:
    """Return where and how a fleet of one instance is asked for, in the words of RunInstances."""
    override = "LaunchTemplateConfigs.1.Overrides.1."
    market = asked.get("TargetCapacitySpecification.DefaultTargetCapacityType", "on-demand")
    return {
        "Placement.AvailabilityZone": asked.get(f"{override}AvailabilityZone", ""),
        "InstanceType": asked.get(f"{override}InstanceType", ""),
        **({"InstanceMarketOptions.MarketType": "spot"} if market == "spot" else {}),
    }


def _error(status: str, code: str, message: str) -> Answer:
    return status, [("Content-Type", "text/xml")], _ERROR.format(code=code, message=message).encode()


def main() -> None:
    application = FaultyEc2(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.server_port, flush=True)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    server.serve_forever()


if __name__ == "__main__":
    main()
