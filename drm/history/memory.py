"""A history that lasts as long as the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from drm.history.samples import KEPT_PER_TEST, is_sound
from drm.model.samples import Risk, RunFacts, Sample
from drm.model.trends import KEPT_RUNS, PastRun, Trends


class MemoryHistory:
    """Implements ``HistoryStore`` without a file: for tests, and where no file can be written."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}
        self._runs: dict[tuple[str, str], deque[PastRun]] = {}

    def begin(self, facts: RunFacts) -> None:
        """Nothing is kept of runs."""

    def risks(self) -> Mapping[str, Risk]:
        """Return how likely tests fail: this run's outcomes say nothing of that yet."""
        return {}

    def namesakes(self, sources: Mapping[str, int]) -> Mapping[str, str]:  # noqa: ARG002 - the port's signature
        """Return what tests never seen were called before, by this run: nothing."""
        return {}

    def record(self, run_id: str, samples: Iterable[Sample]) -> None:  # noqa: ARG002 - the port's signature
        """Keep the samples; those that cannot have been measured are left out."""
        for sample in samples:
            if is_sound(sample):
                self._samples.setdefault(sample.task_id, deque(maxlen=KEPT_PER_TEST)).append(sample)

    def samples(self, task_ids: Sequence[str], *, last: int = 20) -> Mapping[str, Sequence[Sample]]:
        """Return the newest attempts per test, oldest first."""
        found = {task_id: self._samples.get(task_id) for task_id in task_ids}
        return {task_id: list(rows)[-last:] for task_id, rows in found.items() if rows and last > 0}

    def record_run(self, branch: str, run: PastRun) -> None:
        """Keep what the run came to."""
        self._runs.setdefault((branch, run.suite), deque(maxlen=KEPT_RUNS)).append(run)

    def trends(self, branch: str, *, last: int = KEPT_RUNS) -> Trends:
        """Return the last runs of each suite of the branch. Which tests were flaky takes a file to remember."""
        found = [run for (of, _), runs in self._runs.items() if of == branch for run in list(runs)[-last:]]
        return Trends(branch=branch, runs=tuple(sorted(found, key=lambda run: run.at)))

    def task_ids(self) -> list[str]:
        return list(self._samples)

    def close(self) -> None:
        """Nothing is open."""
