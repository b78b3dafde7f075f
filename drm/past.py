"""Past attempts as they were read: a sample is made of a row only where one is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

from drm.model.samples import Sample
from drm.model.work import Outcome, Usage

__all__ = ["OUTCOMES", "Attempts", "Row", "attempts_to_learn_from"]

_MOST, _LEAST, _ROWS = 20, 3, 10_000  # of a test, and of all together while there are more than the least

Row = tuple[Any, ...]
"""outcome (its value), wall_s, cpu_s, peak_rss_bytes, at, machine, source, death, reserved_bytes, gpu_bytes, and what
the reader needed besides."""
OUTCOMES: dict[str | None, Outcome | None] = {None: None, **{outcome.value: outcome for outcome in Outcome}}


def attempts_to_learn_from(tests: int) -> int:
    """Return how many of the newest attempts of each of so many tests are read to learn from them."""
    return min(_MOST, max(_LEAST, _ROWS // max(1, tests)))


class Attempts(Sequence[Sample]):
    """The attempts of one test, oldest first. ``rows`` are for who goes through thousands of tests."""

    __slots__ = ("rows", "task_id")

    def __init__(self, task_id: str, rows: list[Row]) -> None:
        self.task_id = task_id
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Sample]: ...
    def __getitem__(self, place: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(place, slice):
            return Attempts(self.task_id, self.rows[place])
        return self._sample(self.rows[place])

    def __iter__(self) -> Iterator[Sample]:
        return map(self._sample, self.rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def _sample(self, row: Row) -> Sample:
        outcome, wall_s, cpu_s, peak_rss_bytes, at, machine, source, death, reserved_bytes, gpu_bytes, *_ = row
        return Sample(
            task_id=self.task_id,
            usage=Usage(wall_s=wall_s, cpu_s=cpu_s, peak_rss_bytes=peak_rss_bytes, gpu_bytes=gpu_bytes),
            outcome=OUTCOMES[outcome],
            at=at,
            machine=machine,
            source=source,
            death=death,
            reserved_bytes=reserved_bytes,
        )
