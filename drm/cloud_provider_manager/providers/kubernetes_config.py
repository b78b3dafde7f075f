"""Which cluster is meant, and who asks: from the kubeconfig, or from the pod that this runs in."""

from __future__ import annotations

from typing import Any

from drm.cloud_provider_manager.extras import load
from drm.cloud_provider_manager.messages import one_line
from drm.cloud_provider_manager.providers.kubernetes_pods import KubernetesSettings
from drm.model.errors import ConfigError

__all__ = ["configured"]


def configured(provider: str, settings: KubernetesSettings) -> Any:
    """Return the client's configuration, which repeats nothing by itself; ConfigError where there is no cluster."""
    config = load("kubernetes.config", extra="kubernetes")
    configuration = load("kubernetes.client", extra="kubernetes").Configuration()
    try:
        try:
            config.load_kube_config(
                config_file=settings.kubeconfig or None,
                context=settings.context or None,
                client_configuration=configuration,
            )
        except config.ConfigException:
            if settings.kubeconfig or settings.context:
                raise
            config.load_incluster_config(client_configuration=configuration)
    except Exception as error:  # a file that is no YAML, a helper that fails: each library's own
        raise ConfigError(
            f"provider {provider} has no cluster ({one_line(error)})",
            remedy="set KUBECONFIG, or the context and kubeconfig of its settings",
        ) from None
    configuration.retries = False  # urllib3 would repeat what may have been done
    return configuration
