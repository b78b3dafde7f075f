"""One instance by CreateFleet of type instant: EC2 chooses among zones, by its own view of what spot has left. Pure.

The request of RunInstances goes into a launch template of its own, because user data cannot be overridden in a fleet
(docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from drm.cloud_provider_manager.providers.aws_errors import error_of_code
from drm.model.errors import DrmError, UnknownFateError

__all__ = ["error_of_fleet", "fleet_of", "instance_id_of", "template_name", "template_of"]

# What the fleet says itself, and what a template cannot hold.
_OF_FLEET = ("InstanceType", "MinCount", "MaxCount", "ClientToken", "Placement", "SubnetId", "InstanceMarketOptions")


def template_name(token: str) -> str:
    """Return the name of the token's launch template: the same for the same token."""
    return f"drm-{hashlib.sha256(token.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"


def template_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a launch template from the arguments of RunInstances."""
    data = {key: value for key, value in arguments.items() if key not in _OF_FLEET}
    return {**data, "UserData": base64.b64encode(arguments["UserData"].encode()).decode("ascii")}


def fleet_of(arguments: Mapping[str, Any], template: str, subnets: Mapping[str, str], token: str) -> dict[str, Any]:
    """Return the arguments of CreateFleet for one instance: in the zone asked for, else in any that has a subnet."""
    kind = {"InstanceType": arguments["InstanceType"]}
    if "SubnetId" in arguments:
        overrides = [{**kind, "SubnetId": arguments["SubnetId"]}]
    elif "Placement" in arguments:
        overrides = [{**kind, "AvailabilityZone": arguments["Placement"]["AvailabilityZone"]}]
    else:
        overrides = [{**kind, "SubnetId": each} for each in subnets.values()] or [kind]
    is_spot = "InstanceMarketOptions" in arguments
    fleet: dict[str, Any] = {
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": template, "Version": "$Latest"},
                "Overrides": overrides,
            }
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": "spot" if is_spot else "on-demand",
        },
        "ClientToken": token,
    }
    if is_spot:
        options = {"AllocationStrategy": "price-capacity-optimized", "InstanceInterruptionBehavior": "terminate"}
        fleet["SpotOptions"] = options
    return fleet


def instance_id_of(answer: Mapping[str, Any]) -> str:
    """Return the id of the instance that the fleet has made; empty where it has made none."""
    ids = [each for made in answer.get("Instances") or () for each in made.get("InstanceIds") or ()]
    return str(ids[0]) if ids else ""


def error_of_fleet(errors: Sequence[Mapping[str, Any]], text: str, said: str) -> DrmError:
    """Return why a fleet has made nothing: for several zones, what can be gone round of most easily."""
    codes = [str(each.get("ErrorCode") or "") for each in errors]
    if not any(codes):
        return UnknownFateError(f"{text} (an answer without an instance, and without an error)")
    found = [error_of_code(code, 400, f"{text} ({said})", creates=True) for code in codes if code]
    return next((each for each in found if type(each).__name__ == "CapacityError"), found[0])
