"""Calls to providers: at once, or in threads of their own so that the loop goes on while a cloud takes its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from drm.model.errors import DrmError

__all__ = ["Answer", "Calls", "InlineCalls", "ThreadCalls"]

_Value = TypeVar("_Value")
Answer = Callable[[_Value | DrmError], None]
"""Takes what a call returned, or the error that it raised; always in the loop's own thread."""
_ENDING = 4  # machines that are ended at a time


class Calls(Protocol):
    """How calls that may take long are made: at once, or on threads."""

    def start(self, call: Callable[[], _Value], answer: Answer[_Value], *, ends: bool = False) -> None:
        """Make the call and give ``answer`` what came of it, now or in a later ``collect``. Calls that end a machine
        may overlap with others; all others are made one after another."""
        ...

    def collect(self) -> None:
        """Give the answers that have come in."""
        ...

    def close(self) -> None:
        """Wait until every call has been answered, and give the answers."""
        ...


class InlineCalls:
    """Implements ``Calls`` in the loop's thread: for machines that are processes here, and for virtual time."""

    def start(self, call: Callable[[], _Value], answer: Answer[_Value], *, ends: bool = False) -> None:  # noqa: ARG002
        answer(_outcome(call))

    def collect(self) -> None: ...

    def close(self) -> None: ...


class ThreadCalls:
    """Implements ``Calls`` with threads. ``wake``: makes the loop look."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._one = ThreadPoolExecutor(1, thread_name_prefix="drm-provider")
        self._several = ThreadPoolExecutor(_ENDING, thread_name_prefix="drm-provider-end")
        self._answers: deque[Callable[[], None]] = deque()

    def start(self, call: Callable[[], _Value], answer: Answer[_Value], *, ends: bool = False) -> None:
        future: Future[_Value | DrmError] = (self._several if ends else self._one).submit(_outcome, call)
        future.add_done_callback(lambda done: self._put(lambda: answer(done.result())))

    def _put(self, answer: Callable[[], None]) -> None:
        self._answers.append(answer)
        self._wake()

    def collect(self) -> None:
        while self._answers:
            self._answers.popleft()()

    def close(self) -> None:
        self._one.shutdown()
        self._several.shutdown()
        self.collect()


def _outcome(call: Callable[[], _Value]) -> _Value | DrmError:
    try:
        return call()
    except DrmError as error:
        return error
