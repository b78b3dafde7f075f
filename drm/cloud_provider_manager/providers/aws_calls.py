"""Calls of the EC2 API: which may be repeated by the library, and what their errors mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from drm.cloud_provider_manager.extras import load
from drm.cloud_provider_manager.messages import one_line
from drm.cloud_provider_manager.providers.aws_errors import error_of_code
from drm.model.errors import ConfigError, DrmError, LostError, UnauthorisedError, UnknownFateError

__all__ = ["Ec2"]

_READS = 4  # attempts of what changes nothing
_PRICES_IN = "us-east-1"  # the price list of all regions is served there
_CREDENTIALS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"


class Ec2:
    """A region's EC2. ``create`` is asked once: botocore would repeat a refusal for want of capacity by itself,
    and so hold up the search for another zone."""

    def __init__(
        self, *, provider: str, region: str, endpoint_url: str = "", prices_url: str = "", timeout_s: float = 30.0
    ) -> None:
        self._session = session = load("boto3.session", extra="aws").Session()
        self._prices_at = prices_url
        self._pricing: Any = None
        self._errors = load("botocore.exceptions", extra="aws")
        self._text = f"provider {provider} could not"
        self._region = region
        known = [
            name for part in session.get_available_partitions() for name in session.get_available_regions("ec2", part)
        ]
        if region not in known:
            raise ConfigError(
                f"provider {provider}: region {region!r} is not known", remedy=f"regions: {', '.join(known)}"
            )
        self._secrets: tuple[str, ...] = ()
        with_retries = load("botocore.config", extra="aws").Config
        self._clients: dict[bool, Any] = {}
        try:
            credentials = session.get_credentials()
            if credentials is None:
                raise UnauthorisedError(f"provider {provider} has no credentials for AWS", remedy=_CREDENTIALS)
            frozen = credentials.get_frozen_credentials()
            self._secrets = tuple(filter(None, (frozen.secret_key, frozen.token, frozen.access_key)))
            for creates in (True, False):
                config = with_retries(
                    retries={"mode": "standard", "total_max_attempts": 1 if creates else _READS},
                    connect_timeout=timeout_s,
                    read_timeout=timeout_s,
                )
                self._clients[creates] = session.client(
                    "ec2", region_name=region, endpoint_url=endpoint_url or None, config=config
                )
        except (self._errors.BotoCoreError, ValueError) as error:
            raise ConfigError(f"{self._text} be set up ({self.said(error)})", remedy=_CREDENTIALS) from error

    def create(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Call RunInstances, once."""
        return self._call(what, self._clients[True].run_instances, creates=True, **arguments)

    def create_fleet(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Call CreateFleet, once. What an instant fleet lacks is in the answer, and no error of the call."""
        return self._call(what, self._clients[True].create_fleet, creates=True, **arguments)

    def make_template(self, what: str, name: str, data: Mapping[str, Any], tags: Sequence[Mapping[str, str]]) -> None:
        """Call CreateLaunchTemplate; one of that name that is there already is fine: the name is of the token."""
        try:
            self._call(
                what,
                self._clients[False].create_launch_template,
                LaunchTemplateName=name,
                LaunchTemplateData=data,
                TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
            )
        except ConfigError as error:
            if "AlreadyExists" not in error.message:
                raise

    def drop_template(self, what: str, name: str) -> None:
        """Call DeleteLaunchTemplate; none of that name is fine."""
        try:
            self._call(what, self._clients[False].delete_launch_template, LaunchTemplateName=name)
        except ConfigError as error:
            if "NotFound" not in error.message:
                raise

    def types(self, what: str, names: list[str]) -> list[dict[str, Any]]:
        """Call DescribeInstanceTypes, all pages of it, for those of these that the region has."""
        filters = [{"Name": "instance-type", "Values": names}]
        return self._pages(what, self._clients[False], "describe_instance_types", "InstanceTypes", Filters=filters)

    def spot_prices(self, what: str, names: list[str]) -> list[dict[str, Any]]:
        """Call DescribeSpotPriceHistory, all pages of it, for what holds now."""
        return self._pages(
            what,
            self._clients[False],
            "describe_spot_price_history",
            "SpotPriceHistory",
            InstanceTypes=names,
            ProductDescriptions=["Linux/UNIX", "Linux/UNIX (Amazon VPC)"],
            StartTime=datetime.now(UTC),
        )

    def products(self, what: str, wanted: Mapping[str, str]) -> list[str]:
        """Call GetProducts of the AWS Price List, all pages of it; return products as texts of JSON."""
        if self._pricing is None:
            self._pricing = self._session.client(
                "pricing", region_name=_PRICES_IN, endpoint_url=self._prices_at or None
            )
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
        return self._pages(what, self._pricing, "get_products", "PriceList", ServiceCode="AmazonEC2", Filters=filters)

    def said(self, text: object) -> str:
        """Return a text of EC2 as one line without secrets."""
        return one_line(text, secrets=self._secrets)

    def would_create(self, what: str, **arguments: Any) -> None:
        """Ask RunInstances whether it would (DryRun); the error that it would give."""
        try:
            self._call(what, self._clients[True].run_instances, DryRun=True, **arguments)
        except ConfigError as error:
            if "DryRunOperation" not in error.message:
                raise

    def terminate(self, what: str, instance_id: str) -> None:
        """Call TerminateInstances; repeating it does no harm."""
        self._call(what, self._clients[False].terminate_instances, InstanceIds=[instance_id])

    def instances(self, what: str, **arguments: Any) -> list[dict[str, Any]]:
        """Call DescribeInstances, all pages of it; return the instances."""
        held = self._pages(what, self._clients[False], "describe_instances", "Reservations", **arguments)
        return [each for reservation in held for each in reservation["Instances"]]

    def _pages(self, what: str, client: Any, call: str, key: str, **arguments: Any) -> list[Any]:
        """Return what all pages of an answer hold under the key."""

        def pages(**given: Any) -> dict[str, Any]:
            return {"all": [each for page in client.get_paginator(call).paginate(**given) for each in page[key]]}

        found: list[Any] = self._call(what, pages, **arguments)["all"]
        return found

    def _call(
        self, what: str, call: Callable[..., dict[str, Any]], *, creates: bool = False, **arguments: Any
    ) -> dict[str, Any]:
        text = f"{self._text} {what} in {self._region}"
        try:
            return call(**arguments)
        except self._errors.ClientError as error:
            answer = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = str(answer.get("Code", ""))
            said = self.said(f"{code}: {answer.get('Message', '')}")
            # What is no error of EC2 has the HTTP status as its code.
            raise error_of_code("" if code.isdigit() else code, status, f"{text} ({said})", creates=creates) from None
        except (self._errors.NoCredentialsError, self._errors.CredentialRetrievalError) as error:
            raise UnauthorisedError(f"{text} ({self.said(error)})", remedy=_CREDENTIALS) from None
        except self._errors.ParamValidationError as error:
            raise ConfigError(f"{text} ({self.said(error)})") from None
        except (self._errors.EndpointConnectionError, self._errors.ConnectTimeoutError) as error:
            raise LostError(f"{text} ({self.said(error)})", remedy="check the network and the endpoint") from None
        except Exception as error:  # an answer that is cut off, late, or no answer of EC2 at all
            said = self.said(f"{type(error).__name__}: {error}")
            raise (UnknownFateError if creates else DrmError)(f"{text} ({said})") from None
