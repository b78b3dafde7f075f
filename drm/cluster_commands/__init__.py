"""The commands for several machines: ``drm coordinator``, ``worker``, ``workers``, ``drain``; one module each."""
