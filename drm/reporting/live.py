"""How a run goes, for a terminal: a few lines, drawn again and again while it lasts. Pure text, laid out by rich."""

from __future__ import annotations

import importlib.util
import io
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drm.model.events import AttemptFinished, AttemptStarted, Event, ScalingDecided, WorkerLost
from drm.model.plan import ScalingAction, ScalingDecision
from drm.model.units import format_bytes, format_duration
from drm.ports import Status
from drm.reporting.text import one_line, plural

if TYPE_CHECKING:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

__all__ = ["Activity", "can_draw", "decision_text", "draw"]

_MOST_DECISIONS = 2
_MOST_TESTS = 2
_WIDE = 100  # of a terminal that has room for bars of what is reserved
_BAR = 24
_SHORT_BAR = 8
_COLOURS = {ScalingAction.UP: "green", ScalingAction.DOWN: "yellow", ScalingAction.DENIED: "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    elapsed_s: float
    decision: ScalingDecision


class Activity:
    """Implements ``drm.ports.EventSink``: what goes on right now, which the few lines tell of."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self._running: dict[str, tuple[str, str, float]] = {}  # by executor: its worker, its test, since when
        self._decided: deque[_Decided] = deque(maxlen=_MOST_DECISIONS)
        self._told = 0
        self._decisions = 0

    def emit(self, event: Event) -> None:
        """Take in one event."""
        self.elapsed_s = event.elapsed_s
        kind = type(event)
        if kind is AttemptStarted and isinstance(event, AttemptStarted):
            self._running[event.executor_id] = (event.worker_id, event.task_id, event.elapsed_s)
        elif kind is AttemptFinished and isinstance(event, AttemptFinished):
            self._running.pop(event.executor_id, None)
        elif isinstance(event, ScalingDecided) and event.decision.action is not ScalingAction.HOLD:
            self._decided.append(_Decided(elapsed_s=event.elapsed_s, decision=event.decision))
            self._decisions += 1
        elif isinstance(event, WorkerLost):
            self._running = {key: row for key, row in self._running.items() if row[0] != event.worker_id}

    def flush(self) -> None:
        """Nothing to do: it is in memory."""

    def close(self) -> None:
        """Nothing to do: it is in memory."""

    def longest(self) -> list[tuple[str, float]]:
        """Return the tests that run longest, each with the time it began."""
        oldest = sorted(self._running.values(), key=lambda row: row[2])[:_MOST_TESTS]
        return [(test, began_s) for _, test, began_s in oldest]

    def decided(self) -> list[tuple[float, ScalingDecision]]:
        """Return the last decisions that changed something or were denied, oldest first."""
        return [(item.elapsed_s, item.decision) for item in self._decided]

    def news(self) -> str:
        """Return the last decision, with how many there were before it since this was asked; empty without any."""
        new, self._told = self._decisions - self._told, self._decisions
        if not new:
            return ""
        last = decision_text(self._decided[-1].decision)
        return last if new == 1 else f"{last} ({new - 1} before it)"


def decision_text(decision: ScalingDecision) -> str:
    """Return what was decided in a few words: ``"up 1 → 3 local (queue_pressure)"``."""
    wanted = f" of {decision.wanted} wanted" if decision.wanted > decision.granted else ""
    change = f"{decision.workers} → {decision.granted}{wanted}"
    return (
        f"{decision.action.value} {change} {one_line(decision.worker_type, 40)} ({one_line(decision.trigger.code, 40)})"
    )


def can_draw() -> bool:
    """Tell whether rich is installed."""
    return importlib.util.find_spec("rich") is not None


def draw(status: Status, activity: Activity, now_s: float, width: int) -> list[str]:
    """Return the lines, none wider than ``width``, with the terminal's codes for colours in them.

    ``now_s``: seconds of the run. At most: progress, workers, two tests, two decisions.
    """
    from rich.console import Console, Group

    parts: list[Any] = [_progress(status, width), _workers(status, width)]
    parts += [_test(name, now_s - began_s) for name, began_s in activity.longest()]
    parts += [_decision(at_s, decision) for at_s, decision in activity.decided()]
    console = Console(
        file=io.StringIO(), width=max(20, width), force_terminal=True, color_system="standard", legacy_windows=False
    )
    with console.capture() as captured:
        console.print(Group(*parts), end="")
    return captured.get().splitlines()


def _progress(status: Status, width: int) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    done = f"{status.finished}/{status.total}" + (f" {100 * status.finished // status.total}%" if status.total else "")
    colour = "red" if status.failed else "green"
    bar = ProgressBar(
        total=status.total or 1, completed=status.finished, width=min(_BAR, width // 4), complete_style=colour
    )
    cells: list[Any] = [Text("drm:"), bar, Text(done)]
    if status.failed:
        cells.append(Text(f"{status.failed} failed", style="red"))
    if status.eta_s is not None:
        cells.append(Text(f"ETA {format_duration(max(0.0, status.eta_s))}", style="dim"))
    return _row(cells)


def _workers(status: Status, width: int) -> Table | Text:
    from rich.text import Text

    held = ", no more for want of memory" if status.held else ""
    people = (
        f"{plural(status.workers, 'worker')}, {plural(status.executors, 'executor')}, {status.running} running{held}"
    )
    given, whole = status.reserved, status.capacity
    shares: list[tuple[str, float, float, Callable[[Any], str]]] = [
        ("cpu", given.cpu_cores, whole.cpu_cores, "{:g}".format),
        ("mem", given.memory_bytes, whole.memory_bytes, format_bytes),
    ]
    if whole.gpus:
        shares.append(("gpu", given.gpus, whole.gpus, "{:g}".format))
    if width < _WIDE:
        amounts = ", ".join(f"{name} {describe(some)}/{describe(all_)}" for name, some, all_, describe in shares)
        return Text(f"     {amounts}, {people}", style="dim", no_wrap=True, overflow="ellipsis")
    cells: list[Any] = [Text("     reserved")]
    for name, some, all_, describe in shares:
        cells += [Text(name), _share(some, all_), Text(f"{describe(some)}/{describe(all_)}")]
    return _row([*cells, Text(people, style="dim")])


def _share(some: float, all_: float) -> ProgressBar:
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=all_ or 1, completed=min(some, all_ or 1), width=_SHORT_BAR, complete_style="blue")


def _row(cells: list[Any]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    for _ in cells:
        table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_row(*cells)
    return table


def _test(name: str, for_s: float) -> Text:
    from rich.text import Text

    text = f"     {format_duration(max(0.0, for_s)):>7} {one_line(name, 300)}"
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


def _decision(at_s: float, decision: ScalingDecision) -> Text:
    from rich.text import Text

    text = Text("     scaling ", no_wrap=True, overflow="ellipsis")
    text.append(decision_text(decision), style=_COLOURS.get(decision.action, ""))
    text.append(f" at {format_duration(at_s)}: {one_line(decision.reason, 300)}", style="dim")
    return text
