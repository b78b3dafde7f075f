"""What the history is given and tells of tests: one attempt, the facts of a run, a risk."""

from __future__ import annotations

from dataclasses import dataclass

from drm.model.work import Outcome, Usage

__all__ = ["Risk", "RunFacts", "Sample"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One past attempt of a test, as the predictor learns from it. ``at`` is seconds since the epoch.

    ``attempt`` counts within its run. ``reserved_bytes``, ``reserved_cores``, ``gpus``: what it had been given.
    ``death``: what ended it from outside, if anything did. ``source``: a hash of what its function is compiled to.
    0 or empty: not known.
    """

    task_id: str
    usage: Usage
    outcome: Outcome | None
    at: float = 0.0
    machine: str = ""
    source: int = 0
    attempt: int = 1
    reserved_bytes: int = 0
    reserved_cores: float = 0.0
    gpus: int = 0
    death: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What history knows of a run. ``origin``: where its attempts were taken from, where that is not a run of DRM."""

    run_id: str
    commit: str = ""
    branch: str = ""
    started_at: float = 0.0
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """What the past says of a test's next attempt: the ``chance`` that it fails, whether it ever has, and did last."""

    chance: float
    failed_last: bool
    has_failed: bool = False
