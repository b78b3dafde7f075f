"""The account of every test: where it stands, and its one final outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from drm.coordinator.retries import Mishap
from drm.model.errors import DuplicateError
from drm.model.work import Outcome, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTest:
    """What there was of a test before this coordinator: attempts, and what went wrong with them."""

    attempts: int = 0
    mishaps: tuple[Mishap, ...] = ()


_NOTHING = PastTest()


@dataclass(slots=True)
class _Entry:
    task: Task
    asked: Task  # as it was submitted
    submission: int = 0
    attempts: int = 0
    outcome: Outcome | None = None
    mishaps: list[Mishap] = field(default_factory=list)


class Accounts:
    """Every submitted test has one entry; ``counts`` over all of them sums to ``collected``.

    ``max_failures``: pytest's -x and --maxfail; what ends after so many counts as not run (0: no limit).
    """

    def __init__(self, *, max_failures: int = 0) -> None:
        self._max_failures = max_failures
        self._failures = 0
        self._entries: dict[str, _Entry] = {}
        self._past: Mapping[str, PastTest] = {}
        self.submissions = 0
        self._final = 0
        self._bad = 0

    def remember(self, past: Mapping[str, PastTest]) -> None:
        """Take up what another coordinator has left of tests that are opened after this."""
        self._past = past

    def open(self, tasks: Iterable[Task]) -> None:
        """Take tests in, all of one submission."""
        self.submissions += 1
        for task in tasks:
            if task.task_id in self._entries:
                raise DuplicateError(f"test {task.task_id} was submitted already")
            past = self._past.get(task.task_id, _NOTHING)
            self._entries[task.task_id] = _Entry(
                task, task, submission=self.submissions, attempts=past.attempts, mishaps=list(past.mishaps)
            )

    def submission(self, task_id: str) -> int:
        """Return the number of the submission that the test came with, from 1 on."""
        return self._entries[task_id].submission

    def task(self, task_id: str) -> Task:
        return self._entries[task_id].task

    def asked(self, task_id: str) -> Task:
        """Return the test as it was submitted, whatever it was tried with since."""
        return self._entries[task_id].asked

    def revise(self, tasks: Iterable[Task]) -> None:
        """Replace tests by the same with other requirements."""
        for task in tasks:
            self._entries[task.task_id].task = task

    def note(self, task_id: str, mishap: Mishap) -> list[Mishap]:
        """Add what went wrong with an attempt; return all that did so far."""
        mishaps = self._entries[task_id].mishaps
        mishaps.append(mishap)
        return mishaps

    def mishaps(self, task_id: str) -> list[Mishap]:
        return self._entries[task_id].mishaps

    def is_open(self, task_id: str) -> bool:
        return self._entries[task_id].outcome is None

    def begin(self, task_id: str) -> int:
        """Count one more attempt; return its number, from 1."""
        entry = self._entries[task_id]
        entry.attempts += 1
        return entry.attempts

    def attempts(self, task_id: str) -> int:
        return self._entries[task_id].attempts

    def settle(self, task_id: str, outcome: Outcome, *, failures: int = 0) -> bool:
        """Make the outcome final; False (and nothing changes) where one is final already, or it comes too late.

        ``failures``: of the test's phases, which pytest counts one by one.
        """
        entry = self._entries.get(task_id)
        if entry is None or entry.outcome is not None or (self.is_full and outcome is not Outcome.NOT_RUN):
            return False
        self._failures += max(failures, outcome.is_bad)
        entry.outcome = outcome
        self._final += 1
        self._bad += outcome.is_bad
        return True

    def restore(self, task_id: str, outcome: Outcome) -> None:
        """Take up an outcome that is in the record already. A failure counts for no limit: that is the new run's."""
        self._entries[task_id].outcome = outcome
        self._final += 1
        self._bad += outcome.is_bad

    def spoil(self, task_id: str) -> bool:
        """A late teardown turns a final outcome into an error. False if there is none to turn."""
        entry = self._entries.get(task_id)
        if entry is None or entry.outcome is None:
            return False
        self._bad += not entry.outcome.is_bad
        self._failures += 1
        entry.outcome = Outcome.ERROR
        return True

    def open_tasks(self) -> list[Task]:
        """Return the tests without a final outcome."""
        return [entry.task for entry in self._entries.values() if entry.outcome is None]

    @property
    def collected(self) -> int:
        return len(self._entries)

    @property
    def final(self) -> int:
        return self._final

    @property
    def bad(self) -> int:
        return self._bad

    @property
    def is_full(self) -> bool:
        """Tell whether there are as many failures as the run may have."""
        return 0 < self._max_failures <= self._failures

    def counts(self) -> tuple[tuple[str, int], ...]:
        """Return (outcome, number) for the outcomes there are; tests without one count as not run."""
        counter = Counter((entry.outcome or Outcome.NOT_RUN) for entry in self._entries.values())
        return tuple((outcome.value, counter[outcome]) for outcome in Outcome if counter[outcome])
