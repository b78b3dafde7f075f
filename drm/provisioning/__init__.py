"""Where a run's separate workers come from: providers as the [drm] section names them, made ready for the run."""

from __future__ import annotations

from drm.provisioning.building import Place, provider_manager
from drm.provisioning.machines import PROVIDERS, Machines, parse_machines

__all__ = ["PROVIDERS", "Machines", "Place", "parse_machines", "provider_manager"]
