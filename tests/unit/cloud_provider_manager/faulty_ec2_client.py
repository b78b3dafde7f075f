"""The test's side of ``faulty_ec2.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

_SERVER = Path(__file__).with_name("faulty_ec2.py")
_OPEN = build_opener(ProxyHandler({})).open


@dataclass
class FaultyEc2:
    """A server with its faults. ``image``: an AMI that it has."""

    url: str
    image: str = ""

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[FaultyEc2]:
        """Start a server; the environment has credentials, whatever they are."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        command = [sys.executable, str(_SERVER)]
        process = subprocess.Popen(
            with_parent(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "the server of EC2 did not start"
            server = cls(f"http://127.0.0.1:{int(port)}")
            server.image = server._client.register_image(Name="drm", RootDeviceName="/dev/sda1")["ImageId"]
            yield server
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def reset(self) -> None:
        """Forget all instances, calls and faults."""
        self._post("/reset", {})

    def live(self) -> list[str]:
        """Return the ids of all instances that are not terminated, whosever they are."""
        listed = self._client.describe_instances()["Reservations"]
        instances = (each for held in listed for each in held["Instances"])
        return [each["InstanceId"] for each in instances if each["State"]["Name"] != "terminated"]

    def tags(self, instance_id: str) -> dict[str, str]:
        """Return the tags of an instance."""
        (held,) = self._client.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return {tag["Key"]: tag["Value"] for tag in held["Instances"][0].get("Tags", ())}

    def set(self, **faults: Any) -> None:
        """Set the faults, see ``faulty_ec2.FaultyEc2``; forget calls and tokens."""
        self._post("/faults", faults)

    def hide(self, times: int) -> None:
        """Let the next DescribeInstances show nothing; forget no calls or tokens."""
        self._post("/hide", {"unseen": times})

    def calls(self) -> list[dict[str, str]]:
        """Return the parameters of each RunInstances since the faults were set."""
        with _OPEN(f"{self.url}/calls", timeout=20) as answer:
            calls: list[dict[str, str]] = json.load(answer)
        return calls

    def end(self, instance_id: str) -> None:
        """Terminate an instance, as its owner's console or a spot interruption would."""
        self._client.terminate_instances(InstanceIds=[instance_id])

    def templates(self) -> list[str]:
        """Return the names of all launch templates."""
        return [str(each["LaunchTemplateName"]) for each in self._client.describe_launch_templates()["LaunchTemplates"]]

    def make_untagged(self) -> str:
        """Make an instance that is none of DRM's; return its id."""
        made = self._client.run_instances(ImageId=self.image, InstanceType="m6i.large", MinCount=1, MaxCount=1)
        return str(made["Instances"][0]["InstanceId"])

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.client("ec2", region_name="us-east-1", endpoint_url=self.url)

    def _post(self, path: str, content: dict[str, Any]) -> None:
        with _OPEN(Request(self.url + path, data=json.dumps(content).encode(), method="POST"), timeout=20):
            pass


def with_parent(command: list[str]) -> list[str]:
    """Return the command so that it ends with the process that starts it, however that ends."""
    return ["setpriv", "--pdeathsig", "TERM", *command]
