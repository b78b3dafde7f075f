"""A run of the soak while it is under way, and what comes of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.chaos_clusters import Cluster
from benchmarks.soak.around import Around
from benchmarks.soak.schedule import Plan
from benchmarks.soak.suites import Suite

__all__ = ["Result", "Run"]

_PEACE_S = 180.0


@dataclass
class Result:
    """What became of one run. ``wrong``: a sentence for everything that must not be; ``skipped``: why it could not be.

    ``slope``: bytes by which the controller grew for each test, ``pytest_slope``: by which pytest alone does, ``rss``:
    (tests ended, bytes); of a marathon only.
    """

    number: int
    told: str
    tests: int = 0
    wall_s: float = 0.0
    exit_code: int | None = None
    struck: list[str] = field(default_factory=list)
    surroundings: tuple[str, ...] = ()
    resumed: int = 0
    attempts: int = 0
    attempts_lost: int = 0
    workers_lost: int = 0
    given_up: int = 0
    provider_faults: int = 0
    histories_set_aside: int = 0
    slope: float | None = None
    pytest_slope: float | None = None
    rss: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Run:
    """A run under way: its folders, what it is made of, what comes of it."""

    plan: Plan
    suite: Suite
    cluster: Cluster
    around: Around
    home: Path
    mark: str
    command: list[str]
    environment: dict[str, str]
    result: Result

    @property
    def project(self) -> Path:
        return self.around.project

    @property
    def record(self) -> Path:
        return self.project / "reports" / "run"

    def start(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return self.cluster.start(self.around.wrap(command), self.project, self.environment, log)

    def in_peace(self, name: str) -> tuple[int, str]:
        """Run the suite here with no fault; return its exit code and what it printed."""
        command = [sys.executable, "-m", "drm", "run", "--drm-executors=2", f"--drm-report-dir={name}"]
        words = [*command, "--drm-no-report", *self.suite.words]
        done = subprocess.run(
            words,
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PEACE_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr
