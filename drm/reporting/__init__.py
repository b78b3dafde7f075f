"""What people and machines read of a run: one format, one module.

Everything here is made from the events (``ndjson``), folded by ``drm.summary``.
"""
