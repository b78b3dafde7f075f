"""The coordinator: the one loop that orders events and carries out what the components decide."""

from drm.coordinator.loop import Coordinator
from drm.coordinator.parts import Parts
from drm.coordinator.recorder import Recorder
from drm.coordinator.settings import RunSettings

__all__ = ["Coordinator", "Parts", "Recorder", "RunSettings"]
