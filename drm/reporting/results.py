"""results.json: what one run came to, for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from drm.model.errors import ConfigError, DrmError
from drm.reporting.codec import decode, encode
from drm.reporting.files import read_json, write_atomic
from drm.summary import RunSummary

__all__ = ["SCHEMA_VERSION", "Head", "Results", "check_version", "read_head", "read_results", "write_results"]

SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The file as a value. ``exit_code`` is pytest's; None where the writer did not know it."""

    summary: RunSummary
    collected: int
    exit_code: int | None = None


def write_results(summary: RunSummary, path: Path, *, exit_code: int | None = None) -> None:
    """Write the file, whole or not at all. Raises DrmError when it cannot be written."""
    results = Results(summary=summary, collected=summary.collected, exit_code=exit_code)
    document = {"schema_version": SCHEMA_VERSION, **encode(results)}
    write_atomic(Path(path), json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n")


def read_results(path: Path) -> Results:
    """Return what ``write_results`` wrote; ConfigError for damage, a newer format, or sums that do not fit."""
    data = read_json(Path(path))
    check_version(data.get("schema_version"), SCHEMA_VERSION, path, oldest=SCHEMA_VERSION)
    try:
        results = decode(Results, data)
    except DrmError as error:
        raise ConfigError(f"{path}: is damaged ({error})", remedy="run the stage again") from error
    _check_sums(path, results.collected, results.summary.counts)
    _check_sums(path, results.summary.collected, results.summary.counts)
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What results.json says of the run as a whole, whatever it says of each test."""

    run_id: str
    exit_code: int | None = None


def read_head(path: Path) -> Head:
    """Return it at a tenth of the time that ``read_results`` takes; ConfigError for damage, as far as it is seen."""
    data = read_json(Path(path))
    check_version(data.get("schema_version"), SCHEMA_VERSION, path, oldest=SCHEMA_VERSION)
    summary = data.get("summary")
    known = summary if isinstance(summary, dict) else {}
    try:
        head = decode(Head, {"run_id": known.get("run_id"), "exit_code": data.get("exit_code")})
        tally = decode(_Tally, {"collected": data.get("collected"), "counts": known.get("counts")})
    except DrmError as error:
        raise ConfigError(f"{path}: is damaged ({error})", remedy="run the stage again") from error
    _check_sums(path, tally.collected, tally.counts)
    return head


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tally:
    collected: int
    counts: tuple[tuple[str, int], ...]


def _check_sums(path: Path, collected: int, counts: tuple[tuple[str, int], ...]) -> None:
    counted = sum(number for _, number in counts)
    if counted != collected:
        raise ConfigError(
            f"{path}: is damaged ({collected} tests collected, {counted} counted)", remedy="run the stage again"
        )


def check_version(version: object, known: int, path: Path, *, oldest: int = 1) -> None:
    """Raise ConfigError unless ``version`` is one that this drm reads."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(f"{path}: is damaged (schema_version is {version!r})", remedy="run the stage again")
    if version > known:
        raise ConfigError(
            f"{path}: has schema_version {version}, this drm reads up to {known}", remedy="use a newer drm"
        )
    if version < oldest:
        raise ConfigError(
            f"{path}: has schema_version {version}, this drm reads from {oldest} on", remedy="run the stage again"
        )
