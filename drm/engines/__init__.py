"""Where executors run: ``embedded`` is this machine."""
