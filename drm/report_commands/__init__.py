"""What is done with the record of a run: ``drm report`` and ``drm dashboard``, one module a command."""
