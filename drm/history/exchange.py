"""History as lines of JSON, and what other tools remember of a suite as samples of ours."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drm.model.errors import ConfigError
from drm.model.samples import RunFacts, Sample
from drm.model.work import Outcome, Usage

__all__ = ["Batch", "export_lines", "from_durations", "from_lines", "from_pytest_cache", "run_id_of"]

_FIELDS = (
    *("test", "run", "commit", "branch", "at", "machine", "attempt", "outcome", "death"),
    *("wall_s", "cpu_s", "peak_rss_bytes", "gpu_bytes", "reserved_bytes", "reserved_cores", "gpus", "source"),
)
_EXPORT = """
SELECT task_id, run_id, revision, begun_on, at, machine, attempt, outcome, death,
    wall_s, cpu_s, peak_rss_bytes, gpu_bytes, reserved_bytes, reserved_cores, gpus, attempts.source
FROM attempts JOIN tests ON tests.id = attempts.test JOIN runs ON runs.id = attempts.run ORDER BY attempts.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples of one run, and what is known of the run."""

    facts: RunFacts
    samples: tuple[Sample, ...]


def export_lines(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield one JSON object per attempt, oldest first."""
    for row in connection.execute(_EXPORT):
        yield json.dumps(dict(zip(_FIELDS, row, strict=True)))


def from_lines(text: str, name: str) -> list[Batch]:
    """Return what ``export_lines`` wrote. ConfigError names the line that is none of its."""
    runs: dict[str, tuple[RunFacts, list[Sample]]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            sample = _sample(row)
            facts = RunFacts(run_id=str(row["run"]), commit=str(row["commit"]), branch=str(row["branch"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ConfigError(f"{name}: line {number} is no attempt ({error!r})", remedy="export it again") from error
        runs.setdefault(facts.run_id, (facts, []))[1].append(sample)
    return [Batch(facts=facts, samples=tuple(samples)) for facts, samples in runs.values()]


def _sample(row: Mapping[str, Any]) -> Sample:
    return Sample(
        task_id=str(row["test"]),
        usage=Usage(
            wall_s=float(row["wall_s"]),
            cpu_s=float(row["cpu_s"]),
            peak_rss_bytes=int(row["peak_rss_bytes"]),
            gpu_bytes=int(row["gpu_bytes"]),
        ),
        outcome=Outcome(row["outcome"]) if row["outcome"] is not None else None,
        at=float(row["at"]),
        machine=str(row["machine"]),
        source=int(row["source"]),
        attempt=int(row["attempt"]),
        reserved_bytes=int(row["reserved_bytes"]),
        reserved_cores=float(row["reserved_cores"]),
        gpus=int(row["gpus"]),
        death=str(row["death"]),
    )


def run_id_of(path: Path, content: bytes) -> str:
    """Return the run that a file's samples are kept under: the same for the same content, so none comes in twice."""
    return f"import-{path.name}-{hashlib.sha256(content).hexdigest()[:12]}"


def from_durations(data: Mapping[str, Any], facts: RunFacts) -> Batch:
    """Return what pytest-split remembers (``.test_durations``): seconds by nodeid."""
    samples = [
        Sample(task_id=task_id, usage=Usage(wall_s=float(seconds)), outcome=Outcome.PASSED, at=facts.started_at)
        for task_id, seconds in data.items()
        if isinstance(seconds, int | float) and not isinstance(seconds, bool)
    ]
    return Batch(facts=facts, samples=tuple(samples))


def from_pytest_cache(folder: Path, facts: RunFacts) -> Batch:
    """Return what pytest's cache remembers: which tests there are, and which failed last. It knows no durations."""
    known = _read(folder / "v" / "cache" / "nodeids", list)
    failed = _read(folder / "v" / "cache" / "lastfailed", dict)
    outcomes = dict.fromkeys(map(str, known), Outcome.PASSED) | dict.fromkeys(map(str, failed), Outcome.FAILED)
    samples = [
        Sample(task_id=task_id, usage=Usage(), outcome=outcome, at=facts.started_at)
        for task_id, outcome in outcomes.items()
        if "::" in task_id  # it remembers files that could not be collected too
    ]
    return Batch(facts=facts, samples=tuple(samples))


def _read(path: Path, kind: type) -> Any:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kind()
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", remedy="leave it out") from error
    if not isinstance(data, kind):
        raise ConfigError(f"{path} is not what pytest writes", remedy="leave it out")
    return data
