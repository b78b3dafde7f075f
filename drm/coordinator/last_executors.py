"""The end of the executors: their fixtures are torn down, for as long as that may take."""

from __future__ import annotations

from collections.abc import Callable

from drm.coordinator.delivery import Delivery
from drm.coordinator.dispatch import Dispatcher
from drm.coordinator.observer import Observer
from drm.coordinator.parts import Parts
from drm.coordinator.settings import RunSettings
from drm.model import events

_ROUND_S = 0.25
_SLICE_S = 0.004  # longest time for telling the surface before looking again


class LastExecutors:
    """Waits for them. ``reason``: why the run was cut short, if it was; somebody may ask for that meanwhile."""

    def __init__(
        self,
        parts: Parts,
        settings: RunSettings,
        *,
        dispatch: Dispatcher,
        observer: Observer,
        delivery: Delivery,
        reason: Callable[[], str],
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._dispatch = dispatch
        self._observer = observer
        self._delivery = delivery
        self._reason = reason

    def end(self, *, interrupt: bool) -> None:
        """End all executors and tell all that they reported: in order, or by breaking off what they do.

        They have ``teardown_s`` seconds, or ``grace_s`` where the run was cut short. They are killed then.
        """
        is_cut_short = bool(self._reason())
        if is_cut_short:
            self._parts.recorder.record(events.CancelRequested, reason=self._reason())
        if interrupt:
            self._dispatch.interrupt_all()
        else:
            self._dispatch.stop_all()
        patience_s = self._settings.grace_s if is_cut_short else self._settings.teardown_s
        are_gone = self._await(patience_s, lambda: not is_cut_short and self._is_interrupted())
        if not are_gone and not is_cut_short and self._is_interrupted():
            self.end(interrupt=True)
            return
        if not are_gone:
            self._parts.surface.say(f"executors did not end within {patience_s:g} s and were killed")
            self._dispatch.kill_all("it did not end in time")
            self._await(self._settings.grace_s, lambda: False)
        self._delivery.drain()

    def _is_interrupted(self) -> bool:
        """Tell whether somebody, not a test, asks for the end of the run."""
        return bool(self._reason()) and self._observer.asked is None

    def _await(self, patience_s: float, is_over: Callable[[], bool]) -> bool:
        """Look and tell until no executor is left; False when that takes longer than ``patience_s``, or is over."""
        clock = self._parts.clock
        deadline = clock.now() + patience_s
        while len(self._dispatch.crew):
            if clock.now() > deadline or is_over():
                return False
            for observation in self._parts.engine.poll(0.0 if self._delivery else _ROUND_S):
                self._observer.observe(observation)
            self._dispatch.enforce_timeouts()
            self._delivery.drain(_SLICE_S)
            self._parts.recorder.flush()
        return True
