"""What a run that goes on knows of attempts that were killed for memory before."""

from __future__ import annotations

from pathlib import Path

import pytest

from drm.model import events
from drm.model.death import DeathKind
from drm.model.resources import Resources
from drm.model.work import Outcome, Usage
from drm.reporting.ndjson import NdjsonSink
from drm.resuming import read_interrupted

MIB = 1 << 20


@pytest.mark.parametrize(
    ("reserved", "used", "outcome", "charged", "alone"),
    [
        (Resources(cpu_cores=1, memory_bytes=100 * MIB), 80, None, False, False),
        (Resources(cpu_cores=1, memory_bytes=100 * MIB), 180, Outcome.FAILED, True, False),
        (Resources(cpu_cores=4, memory_bytes=100 * MIB), 80, Outcome.FAILED, True, True),
    ],
    ids=["victim", "took more", "alone"],
)
def test_a_victim_stays_one(
    tmp_path: Path, reserved: Resources, used: int, outcome: Outcome | None, charged: bool, alone: bool
) -> None:
    place = {"task_id": "t", "attempt": 1, "worker_id": "local", "executor_id": "gw0"}
    room = Resources(cpu_cores=4, memory_bytes=1000 * MIB)
    usage = Usage(wall_s=1.0, peak_rss_bytes=used * MIB)
    started = {"run_id": "r", "format_version": events.FORMAT_VERSION, "command": (), "rootdir": "/"}
    made = [
        (
            events.RunStarted,
            {
                **started,
                "drm_version": "",
                "python": "",
                "platform": "",
                "machine": "",
                "cpu_cores": 4.0,
                "memory_bytes": 0,
            },
        ),
        (events.TestsDiscovered, {"task_ids": ("t",)}),
        (events.WorkerReady, {"worker_id": "local", "worker_type": "local", "capacity": room}),
        (events.AttemptStarted, {**place, "reserved": reserved}),
        (
            events.AttemptFinished,
            {**place, "outcome": outcome, "usage": usage, "cause": "killed", "death": DeathKind.MEMORY},
        ),
    ]
    sink = NdjsonSink(tmp_path / "events.ndjson")
    for seq, (kind, fields) in enumerate(made, 1):
        sink.emit(kind(seq=seq, at="2026-12-01T00:00:00.000Z", elapsed_s=float(seq), **fields))
    sink.close()
    (mishap,) = read_interrupted(tmp_path).past["t"].mishaps
    assert (mishap.is_charged, mishap.alone) == (charged, alone)
