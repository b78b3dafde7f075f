"""Where a run's separate workers come from: providers as the [drm] section names them, made ready for the run."""

from __future__ import annotations

from drm.provisioning.building import Place, check_ways, provider_manager
from drm.provisioning.machines import PROVIDERS, Machines, boot_s_of, parse_machines

__all__ = ["PROVIDERS", "Machines", "Place", "boot_s_of", "check_ways", "parse_machines", "provider_manager"]
