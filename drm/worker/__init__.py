"""What runs on a worker: the agent, the zygote that holds the collected suite, and its executors.

Knows only ``drm.model`` and pytest; everything it learns it tells the coordinator.
"""
