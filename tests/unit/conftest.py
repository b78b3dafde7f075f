"""What unit tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No test may depend on how fast the machine is today: no deadline, and no complaint about slow generation
# (the first text that is drawn builds a table of all characters, under a tracer in the stages).
settings.register_profile("drm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("drm")
