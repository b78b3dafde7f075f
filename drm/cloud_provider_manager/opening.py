"""From clouds.toml to a manager with its providers: here libraries are imported and credentials looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from drm.cloud_provider_manager.clouds_file import Clouds, ProviderSection
from drm.cloud_provider_manager.creation import Creator, Ownership
from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.manager import CloudProviderManager
from drm.cloud_provider_manager.owner import this_process
from drm.cloud_provider_manager.providers.aws import AwsProvider, AwsSettings
from drm.cloud_provider_manager.providers.docker import DockerProvider
from drm.cloud_provider_manager.providers.gcp import GcpProvider, GcpSettings
from drm.cloud_provider_manager.providers.kubernetes import KubernetesProvider, KubernetesSettings
from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.errors import ConfigError
from drm.ports import Clock, CloudProvider

__all__ = ["open_clouds", "provider_of"]

_LOOK_EVERY_S = {"docker": 0.0, "kubernetes": 2.0, "aws": 5.0, "gcp": 5.0}


def open_clouds(
    clouds: Clouds,
    *,
    clock: Clock,
    run_id: str,
    journal: Path,
    local: tuple[WorkerType, ...] = (),
    prepare: Callable[[InstanceRequest], InstanceRequest] = lambda request: request,
) -> CloudProviderManager:
    """Return a manager with the providers of the file. The errors of the providers' own making.

    ``journal``: the history's file. ``local``: types of this machine, taken where the file says so and every way is
    closed; the caller adds their provider. ``reconcile`` is the caller's first call.
    """
    creator = Creator(
        clock=clock,
        ownership=Ownership(run_id=run_id, owner=this_process(), lease_s=clouds.lease_s),
        journal=Journal(journal),
        budget=clouds.budget,
    )
    policy = replace(clouds.policy, local=local if clouds.falls_back else ())
    manager = CloudProviderManager(clock=clock, creator=creator, policy=policy, prepare=prepare)
    for section in clouds.providers:
        manager.add_provider(provider_of(section, clouds), look_every_s=_LOOK_EVERY_S[section.name])
    for name, ways in clouds.ways().items():
        manager.offer(name, ways)
    return manager


def provider_of(section: ProviderSection, clouds: Clouds) -> CloudProvider:
    """Return the provider of a section; ConfigError with the pip command where its library is missing."""
    bootstrap = clouds.warm_up.script() if clouds.warm_up is not None else ""
    given = dict(section.settings)
    try:
        if section.name == "docker":
            return DockerProvider(section.limit, section.types, **given)
        own = {**given, "limit": section.limit, "lease_s": clouds.lease_s}
        if section.name == "kubernetes":
            return KubernetesProvider(KubernetesSettings(**own), section.types)
        if section.name == "aws":
            return AwsProvider(AwsSettings(**own, bootstrap=bootstrap), section.types)
        return GcpProvider(GcpSettings(**own, bootstrap=bootstrap), section.types)
    except (TypeError, ValueError) as error:  # a number where a text should be
        raise ConfigError(f"[{section.name}]: a setting is of the wrong kind ({error})") from None
