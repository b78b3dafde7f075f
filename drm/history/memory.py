"""A history that lasts as long as the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from drm.history.samples import KEPT_PER_TEST, is_sound
from drm.ports import Sample


class MemoryHistory:
    """Implements ``HistoryStore`` without a file: for tests, and where no file can be written."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}

    def record(self, run_id: str, samples: Iterable[Sample]) -> None:  # noqa: ARG002 - the port's signature
        """Keep the samples; those that cannot have been measured are left out."""
        for sample in samples:
            if is_sound(sample):
                self._samples.setdefault(sample.task_id, deque(maxlen=KEPT_PER_TEST)).append(sample)

    def samples(self, task_ids: Sequence[str], *, last: int = 20) -> Mapping[str, Sequence[Sample]]:
        """Return the newest attempts per test, oldest first."""
        found = {task_id: self._samples.get(task_id) for task_id in task_ids}
        return {task_id: list(rows)[-last:] for task_id, rows in found.items() if rows and last > 0}

    def close(self) -> None:
        """Nothing is open."""
