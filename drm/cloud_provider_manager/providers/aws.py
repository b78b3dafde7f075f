"""Workers on EC2, spot and on demand: one region, machines that end themselves when they power off."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from drm.cloud_provider_manager.creation import short_token
from drm.cloud_provider_manager.providers.aws_calls import Ec2
from drm.cloud_provider_manager.providers.aws_fleet import (
    error_of_fleet,
    fleet_of,
    instance_id_of,
    template_name,
    template_of,
)
from drm.cloud_provider_manager.providers.instances import left_of, never_seen, oldest_first, wait_until_gone
from drm.cloud_provider_manager.providers.requests import check_limit, check_offered, what_of
from drm.cloud_provider_manager.providers.user_data import user_data
from drm.cloud_provider_manager.providers.young import Young
from drm.cloud_provider_manager.tags import MANAGED, OPERATION, TYPE, WORKER, tags_of
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import DrmError, LostError, UnknownFateError
from drm.model.resources import Resources

__all__ = ["AwsProvider", "AwsSettings"]

_STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "shutting-down": InstanceState.TERMINATING,
    "stopping": InstanceState.TERMINATING,
    "stopped": InstanceState.TERMINATING,  # its disk is still paid for
    "terminated": InstanceState.GONE,
}
_THERE = [state for state, meaning in _STATES.items() if meaning is not InstanceState.GONE]
_LOOK_S = 2.0
NOTICES = ("DRM_NOTICES", "ec2")  # the worker asks whether it will be interrupted: see ``drm.worker.notices``


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSettings:
    """What instances are made of. ``limit``: what all instances of DRM in this region may have together.

    ``image``: an AMI with cloud-init. ``subnets``: by zone; without one the zone's default. ``role``: the name of
    an instance profile. ``bootstrap``: see ``user_data``. ``lease_s``: after which a machine powers itself off.
    ``endpoint_url``: where EC2 is, if not at its own address. ``gone_s``: how long ending an instance may take.
    ``fleet``: instances are made by CreateFleet (see ``aws_fleet``); a worker type without a zone may then be in any
    that has a subnet.
    """

    region: str
    image: str
    limit: Resources
    subnets: Mapping[str, str] = field(default_factory=dict)
    security_groups: tuple[str, ...] = ()
    role: str = ""
    bootstrap: str = ""
    lease_s: float = 7200.0
    endpoint_url: str = ""
    fleet: bool = False
    timeout_s: float = 30.0
    gone_s: float = 300.0


class AwsProvider:
    """Implements ``CloudProvider`` with RunInstances, or with CreateFleet.

    A worker type's name is the EC2 type, such as ``c7i.large``; its zone and market ("spot", "on-demand") say where
    and how it is bought. Which is tried next when one cannot be had is not decided here. ``ec2``: a connection that
    is there already (one is slow to make). ``now`` and ``wait`` are time, in seconds.
    """

    def __init__(
        self,
        settings: AwsSettings,
        types: Sequence[WorkerType],
        *,
        name: str = "aws",
        ec2: Ec2 | None = None,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._settings = settings
        self._types = tuple(types)
        self._now = now
        self._wait = wait
        self._ec2 = ec2 or Ec2(
            provider=name, region=settings.region, endpoint_url=settings.endpoint_url, timeout_s=settings.timeout_s
        )
        self._young = Young(now)
        self._refusals: dict[str, int] = {}  # of fleets, by token

    def create(self, request: InstanceRequest) -> Instance:
        """Call RunInstances or CreateFleet once; see ``CloudProvider.create``.

        QuotaError when the limit set here is reached. The token goes to EC2 as ClientToken: asked again with it,
        EC2 returns the first instance.
        """
        check_offered(request, self._types, self.name)
        script = self._script(request)
        live = self.list_instances()
        for instance in live:
            if request.token and instance.tag(OPERATION) == request.token:
                return instance
        check_limit(request, left_of(self._settings.limit, self._types, live), self.name)
        arguments = self._arguments(request, script)
        made = self._by_fleet(request, arguments) if self._settings.fleet else self._by_run(request, arguments)
        instance = self._seen(made)
        self._young.made(instance)
        return instance

    def check(self, request: InstanceRequest) -> None:
        """Ask EC2 whether it would create this (DryRun), which costs nothing; the errors of ``create``.

        EC2 looks at permissions, names and quotas; what capacity there is it does not say.
        """
        check_offered(request, self._types, self.name)
        arguments = self._arguments(request, self._script(request))
        self._ec2.would_create(f"check {what_of(request)}", **arguments)

    def _script(self, request: InstanceRequest) -> str:
        given = self._settings
        environment = (*request.environment, NOTICES)
        return user_data(request.command, environment, lease_s=given.lease_s, bootstrap=given.bootstrap)

    def _by_run(self, request: InstanceRequest, arguments: dict[str, Any]) -> Mapping[str, Any]:
        answer = self._ec2.create(f"create {what_of(request)}", **arguments)
        made = [each for each in answer.get("Instances") or () if each.get("InstanceId")]
        if not made:
            raise UnknownFateError(f"provider {self.name} answered without an instance for {what_of(request)}")
        described: Mapping[str, Any] = made[0]
        return described

    def _by_fleet(self, request: InstanceRequest, arguments: dict[str, Any]) -> Mapping[str, Any]:
        """Create by a fleet whose launch template lives until its answer is known."""
        what, token = f"create {what_of(request)}", request.token or uuid.uuid4().hex
        tags = arguments["TagSpecifications"][0]["Tags"]
        name = template_name(token)
        self._ec2.make_template(f"describe {what_of(request)}", name, template_of(arguments), tags)
        once = token if token not in self._refusals else short_token(f"{token}#{self._refusals[token]}")
        try:
            answer = self._ec2.create_fleet(what, **fleet_of(arguments, name, self._settings.subnets, once))
        except UnknownFateError:
            raise  # it is asked again, with the same template
        except DrmError:
            self._drop_template(name)
            raise
        instance_id = instance_id_of(answer)
        if not instance_id:
            errors = answer.get("Errors") or ()
            said = self._ec2.said("; ".join(f"{each.get('ErrorCode')}: {each.get('ErrorMessage')}" for each in errors))
            error = error_of_fleet(errors, f"provider {self.name} could not {what} in {self._settings.region}", said)
            if not isinstance(error, UnknownFateError):
                self._refusals[token] = self._refusals.get(token, 0) + 1  # else EC2 would answer the same again
                self._drop_template(name)
            raise error
        self._drop_template(name)
        return {"InstanceId": instance_id, "State": {"Name": "pending"}, "Tags": tags}

    def _drop_template(self, name: str) -> None:
        with suppress(DrmError):  # it costs nothing, and ``terminate`` tries again
            self._ec2.drop_template(f"delete launch template {name}", name)

    def terminate(self, instance_id: str) -> None:
        """Terminate an instance; return when EC2 says so. LostError for an id never seen.

        DrmError when EC2 has not ended it within ``gone_s``.
        """
        instance = self.describe(instance_id)
        if self._settings.fleet and instance.tag(OPERATION):
            self._drop_template(template_name(instance.tag(OPERATION)))
        if instance.state is InstanceState.GONE:
            return
        self._ec2.terminate(f"terminate {instance_id}", instance_id)

        def is_gone() -> bool:
            self._young.seen([instance_id])
            try:
                return self.describe(instance_id).state is InstanceState.GONE
            except LostError:  # EC2 forgets what is terminated
                return True

        wait_until_gone(
            is_gone,
            instance_id,
            self._settings.gone_s,
            look_s=_LOOK_S,
            now=self._now,
            wait=self._wait,
            remedy="look at it in the console of AWS",
        )

    def describe(self, instance_id: str) -> Instance:
        """Return the instance as it is now; LostError for an id never seen."""
        try:
            found = self._ec2.instances(f"describe {instance_id}", InstanceIds=[instance_id])
        except LostError:
            found = []
        if found:
            instance = self._seen(found[0])
            if instance.tag(MANAGED) == "1":  # no other is ours to look at, or to end
                self._young.seen([instance_id])
                return instance
        for instance in self._young.unseen():
            if instance.instance_id == instance_id:
                return instance
        raise never_seen(self.name, instance_id)

    def list_instances(self) -> tuple[Instance, ...]:
        """Return the instances of DRM in this region, oldest first."""
        filters = [{"Name": f"tag:{MANAGED}", "Values": ["1"]}]
        if not self._young:  # of those what has ended must be seen too: else it would pass for what is not shown yet
            filters.append({"Name": "instance-state-name", "Values": _THERE})
        listed = map(self._seen, self._ec2.instances("list instances", Filters=filters))
        seen = {each.instance_id: each for each in listed}
        self._young.seen(seen)
        for instance in self._young.unseen():
            seen[instance.instance_id] = instance
        return oldest_first(each for each in seen.values() if each.state is not InstanceState.GONE)

    def offerings(self) -> tuple[WorkerType, ...]:
        return self._types

    def available(self) -> Resources:
        """Return what the limit set for this provider leaves; what EC2 has free it does not say."""
        return left_of(self._settings.limit, self._types, self.list_instances())

    def _arguments(self, request: InstanceRequest, script: str) -> dict[str, Any]:
        settings, asked = self._settings, request.worker_type
        tags = [{"Key": key, "Value": value} for key, value in tags_of(request).items()]
        arguments: dict[str, Any] = {
            "ImageId": settings.image,
            "InstanceType": asked.name,
            "MinCount": 1,
            "MaxCount": 1,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required"},
            "UserData": script,
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        }
        if request.token:
            arguments["ClientToken"] = request.token
        if asked.zone:
            arguments["Placement"] = {"AvailabilityZone": asked.zone}
        if settings.subnets.get(asked.zone):
            arguments["SubnetId"] = settings.subnets[asked.zone]
        if settings.security_groups:
            arguments["SecurityGroupIds"] = list(settings.security_groups)
        if settings.role:
            arguments["IamInstanceProfile"] = {"Name": settings.role}
        if asked.market == "spot":
            options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            arguments["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
        return arguments

    def _seen(self, described: Mapping[str, Any]) -> Instance:
        tags = {str(tag["Key"]): str(tag["Value"]) for tag in described.get("Tags") or ()}
        state = described.get("State", {}).get("Name", "")
        reason = described.get("StateTransitionReason") or ""
        launched = described.get("LaunchTime")
        return Instance(
            instance_id=str(described["InstanceId"]),
            worker_id=tags.get(WORKER, ""),
            worker_type=tags.get(TYPE, ""),
            provider=self.name,
            state=_STATES.get(state, InstanceState.PENDING),
            detail=" ".join(filter(None, (described.get("InstanceId"), state, reason))),
            tags=tuple(sorted(tags.items())),
            created_at=launched.timestamp() if isinstance(launched, datetime) else None,
        )
