"""Providers from their settings, and the manager over them: with a budget, a journal and the ways to buy."""
# ruff: noqa: ARG001 - all that make a provider are given the same

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drm.cloud_provider_manager import CloudProviderManager, LocalProvider
from drm.cloud_provider_manager.creation import CHILDREN, Creator, Ownership
from drm.cloud_provider_manager.failover import ways_by_name
from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.owner import is_alive, this_process
from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.errors import ConfigError, DrmError
from drm.model.resources import Resources
from drm.ports import Clock, CloudProvider
from drm.provisioning.machines import Machines

if TYPE_CHECKING:
    from drm.cluster_trust.enrolment import Enrolment

__all__ = ["Place", "check_ways", "provider_manager"]

_LOOK_S = {"docker": 1.0, "kubernetes": 2.0, "aws": 10.0, "gcp": 10.0}  # how often a list is asked for
_OF_THIS_MACHINE = ("local", "docker")
_JOIN_S = 900.0  # after which a token to join with is void: a machine that boots for longer is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What workers of this machine share with the controller: ``folders``, by the same path in a container.

    ``reaches_machines``: whether workers of other machines can join, at the coordinator on ``host``. They get their
    credentials at ``enrolment_port`` (0: any port that is free).
    """

    folders: tuple[Path, ...] = ()
    reaches_machines: bool = False
    host: str = ""
    enrolment_port: int = 0


def provider_manager(
    machines: Machines,
    types: Sequence[WorkerType],
    *,
    clock: Clock,
    run_id: str,
    history: Path | None,
    capacity: Resources,
    place: Place,
    say: Callable[[str], None],
) -> CloudProviderManager:
    """Return the manager of a run, reconciled with what earlier controllers have left.

    ``history``: the file with the journal. ConfigError for settings that make no provider, and where workers could
    not join.
    """
    for name in machines.providers:
        if name not in _OF_THIS_MACHINE and not place.reaches_machines:
            raise ConfigError(
                f"workers of provider {name} cannot join: the coordinator listens on a socket of this machine",
                remedy="start 'drm coordinator' where they reach it, and give --drm-coordinator HOST:PORT",
            )
    creator, journal, enrolment = None, None, None
    if not machines.is_local:
        journal = Journal(history if history is not None else Path(".drm", "history.db"))
        creator = Creator(
            clock=clock,
            ownership=Ownership(run_id=run_id, owner=this_process(), lease_s=machines.lease_s),
            journal=journal,
            budget=machines.budget,
        )
    if not set(machines.providers) <= set(_OF_THIS_MACHINE) and place.host:
        enrolment = _enrolment(place)
    # Workers that stand in are counted by the local provider, which is there for them.
    given: dict[str, Any] = {"clock": clock, "creator": creator, "policy": machines.policy}
    if enrolment is not None:
        from drm.cloud_provider_manager.joining import Joining

        joining = Joining(enrolment, host=place.host, valid_s=_JOIN_S)
        given |= {"prepare": joining, "ended": joining.ended}
    manager = CloudProviderManager(**given)
    for each in (enrolment, journal):
        if each is not None:
            manager.at_end(each.close)
    for name in machines.providers:
        mine = tuple(each for each in types if each.provider == name)
        manager.add_provider(_provider(name, machines, mine, capacity, place), look_every_s=_LOOK_S.get(name, 0.0))
    if machines.policy.local and "local" not in machines.providers:
        manager.add_provider(LocalProvider(capacity, machines.policy.local))
    if not machines.is_local:
        _offer(manager, types)
        _reconcile(manager, say)
    return manager


def _enrolment(place: Place) -> Enrolment:
    """Return where machines get what they need to join: each once, by a token of its own."""
    from drm.cluster_trust import COORDINATOR, WORKER, default_folder, load_credentials
    from drm.cluster_trust.enrolment import Enrolment

    folder = default_folder()
    for role in (COORDINATOR, WORKER):
        load_credentials(folder / role)
    return Enrolment(place.host, place.enrolment_port, coordinator=folder / COORDINATOR, worker=folder / WORKER)


def check_ways(machines: Machines, types: Sequence[WorkerType], *, capacity: Resources) -> dict[WorkerType, str]:
    """Ask each provider that can tell whether it would create each of the types; return the reason why not, empty for
    yes. Nothing is created. Providers that cannot tell are left out."""
    found: dict[WorkerType, str] = {}
    for name in machines.providers:
        mine = tuple(each for each in types if each.provider == name)
        try:
            provider = _provider(name, machines, mine, capacity, Place(reaches_machines=True))
        except DrmError as error:
            found.update(dict.fromkeys(mine, str(error)))
            continue
        check = getattr(provider, "check", None)
        if check is None:
            continue
        for each in mine:
            request = InstanceRequest(worker_id="w0", worker_type=each, command=("true",))
            try:
                check(request)
            except DrmError as error:
                found[each] = str(error)
            else:
                found[each] = ""
    return found


def _offer(manager: CloudProviderManager, types: Sequence[WorkerType]) -> None:
    for name, ways in ways_by_name(types).items():
        if any(each.provider not in CHILDREN for each in ways):
            manager.offer(name, ways)


def _reconcile(manager: CloudProviderManager, say: Callable[[str], None]) -> None:
    done = manager.reconcile(alive=is_alive, wait=time.sleep)
    ended = [each for each in done.findings if each.outcome == "ended"]
    if ended:
        say(f"ended {len(ended)} machines that earlier controllers had left: {ended[0].reason}")
    for problem in done.problems:
        say(f"what earlier controllers have left could not be looked at: {problem}")


def _provider(
    name: str, machines: Machines, types: Sequence[WorkerType], capacity: Resources, place: Place
) -> CloudProvider:
    table = machines.tables.get(name, {})
    return _MAKERS[name](table, machines, types, capacity, place)


def _local(
    table: Mapping[str, str], machines: Machines, types: Sequence[WorkerType], capacity: Resources, place: Place
) -> CloudProvider:
    return LocalProvider(capacity, (*types, *machines.policy.local))


def _docker(
    table: Mapping[str, str], machines: Machines, types: Sequence[WorkerType], capacity: Resources, place: Place
) -> CloudProvider:
    from drm.cloud_provider_manager.providers.docker import DockerProvider

    volumes = {str(folder): str(folder) for folder in place.folders}
    for word in table.get("volumes", "").split():
        here, _, there = word.partition(":")
        volumes[here] = there or here
    return DockerProvider(
        machines.limits["docker"],
        types,
        image=table["image"],
        host=table.get("host", ""),
        network=table.get("network", ""),
        volumes=volumes,
        environment=_pairs(table.get("environment", ""), "docker: environment"),
    )


def _kubernetes(
    table: Mapping[str, str], machines: Machines, types: Sequence[WorkerType], capacity: Resources, place: Place
) -> CloudProvider:
    from drm.cloud_provider_manager.providers.kubernetes import KubernetesProvider, KubernetesSettings

    settings = KubernetesSettings(
        image=table["image"],
        limit=machines.limits["kubernetes"],
        namespace=table.get("namespace", "default"),
        context=table.get("context", ""),
        node_selector=_pairs(table.get("node_selector", ""), "kubernetes: node_selector"),
        spot_selector=_pairs(table.get("spot_selector", ""), "kubernetes: spot_selector"),
        service_account=table.get("service_account", ""),
        pull_secrets=tuple(table.get("pull_secrets", "").split()),
        tolerations=tuple(map(_toleration, table.get("tolerations", "").split())),
        lease_s=machines.lease_s,
    )
    return KubernetesProvider(settings, types)


def _aws(
    table: Mapping[str, str], machines: Machines, types: Sequence[WorkerType], capacity: Resources, place: Place
) -> CloudProvider:
    from drm.cloud_provider_manager.providers.aws import AwsProvider, AwsSettings

    settings = AwsSettings(
        region=table["region"],
        image=table["image"],
        limit=machines.limits["aws"],
        subnets=_pairs(table.get("subnets", ""), "aws: subnets"),
        security_groups=tuple(table.get("security_groups", "").split()),
        role=table.get("role", ""),
        bootstrap=_script(table, "aws"),
        lease_s=machines.lease_s,
        endpoint_url=table.get("endpoint", ""),
        fleet=table.get("fleet", "false").lower() == "true",
    )
    return AwsProvider(settings, types)


def _gcp(
    table: Mapping[str, str], machines: Machines, types: Sequence[WorkerType], capacity: Resources, place: Place
) -> CloudProvider:
    from drm.cloud_provider_manager.providers.gcp import GcpProvider, GcpSettings

    settings = GcpSettings(
        project=table["project"],
        image=table["image"],
        limit=machines.limits["gcp"],
        subnets=_pairs(table.get("subnets", ""), "gcp: subnets"),
        service_account=table.get("service_account", ""),
        bootstrap=_script(table, "gcp"),
        lease_s=machines.lease_s,
        endpoint=table.get("endpoint", ""),
    )
    if "network" in table:
        settings = replace(settings, network=table["network"])
    return GcpProvider(settings, types)


_MAKERS: Mapping[str, Callable[..., CloudProvider]] = {
    "local": _local,
    "docker": _docker,
    "kubernetes": _kubernetes,
    "aws": _aws,
    "gcp": _gcp,
}


def _script(table: Mapping[str, str], name: str) -> str:
    """Return the lines that install Python and the project on a machine: of the file that the section names, else
    those of a warm-up with what it says."""
    path = table.get("bootstrap")
    if path is None:
        from drm.cloud_provider_manager.warm_up import WarmUp

        given = {key: table[key] for key in ("git", "ref", "python", "drm") if key in table}
        requirements = tuple(table.get("requirements", "").split())
        return WarmUp(**given, requirements=requirements).script() if given or requirements else ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"provider {name}: bootstrap {path} cannot be read ({error})", remedy="give a file of bash lines"
        ) from error


def _toleration(word: str) -> dict[str, str]:
    """Return a toleration of what is written as a taint is: KEY=VALUE:EFFECT, KEY:EFFECT or KEY."""
    name, _, effect = word.partition(":")
    key, equals, value = name.partition("=")
    if not key or effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise ConfigError(f"kubernetes: tolerations: {word!r} is none", remedy="write it like drm=tests:NoSchedule")
    found = {"key": key, "operator": "Equal" if equals else "Exists"}
    return found | ({"value": value} if equals else {}) | ({"effect": effect} if effect else {})


def _pairs(text: str, where: str) -> dict[str, str]:
    pairs = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{where}: {word!r} is not KEY=VALUE", remedy="write it like eu-west-1a=subnet-1")
        pairs[key] = value
    return pairs
