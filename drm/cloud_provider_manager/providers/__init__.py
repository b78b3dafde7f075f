"""One module per provider; each implements ``drm.ports.CloudProvider``."""
