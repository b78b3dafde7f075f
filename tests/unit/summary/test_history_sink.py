"""What a run's events leave in the history."""

from __future__ import annotations

from drm.history import MemoryHistory
from drm.model import events
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage
from drm.sinks import HistorySink
from drm.summary import RunSummary

AT = "2026-01-01T00:00:00+00:00"


def test_attempts_on_another_provider_are_those_of_another_kind_of_machine() -> None:
    store = MemoryHistory()
    sink = HistorySink(store, run_id="r", machine="this", summary=lambda: RunSummary(run_id="r"))
    for number, (worker, provider) in enumerate((("w0", "local"), ("w1", "aws")), start=1):
        sink.emit(
            events.InstanceRequested(
                seq=1, at=AT, elapsed_s=0.0, worker_id=worker, worker_type="big", provider=provider
            )
        )
        attempt = {"task_id": "m.py::t", "attempt": number, "worker_id": worker, "executor_id": "e"}
        reserved = Resources(cpu_cores=1.0, memory_bytes=2**20)
        sink.emit(events.AttemptStarted(seq=2, at=AT, elapsed_s=0.0, reserved=reserved, **attempt))
        usage = Usage(wall_s=1.0, gpu_bytes=2**30)
        sink.emit(events.AttemptFinished(seq=3, at=AT, elapsed_s=1.0, outcome=Outcome.PASSED, usage=usage, **attempt))
    sink.close()
    rows = store.samples(["m.py::t"])["m.py::t"]
    assert [row.machine for row in rows] == ["this", "aws:big"]
    assert {(row.usage.gpu_bytes, row.reserved_bytes) for row in rows} == {(2**30, 2**20)}
