"""A report as one frozen value: every format and every badge is made from it.

``collect`` reads it from a folder, ``verdict`` holds the rules by which states are given.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

from drm.model.errors import ConfigError
from drm.model.trends import Trends
from drm.reporting.text import plural
from drm.summary import RunSummary

__all__ = [
    "LEFT_OUT",
    "Attention",
    "Benchmark",
    "Cell",
    "ComponentReport",
    "Coverage",
    "Link",
    "Report",
    "ReportContext",
    "RunReport",
    "StageReport",
    "State",
    "StatusFile",
]


LEFT_OUT = "left_out"  # a status


class State(str, enum.Enum):
    """How something stands, worst first.

    ``ERROR``: unreadable, crashed or not finished. ``PARTIAL``: something required is
    missing. ``STALE``: of another commit than the rest. ``NO_TESTS``: nothing ran, so
    nothing passed. ``MISSING``: there is no trace of it.
    """

    ERROR = "error"
    FAILING = "failing"
    PARTIAL = "partial"
    STALE = "stale"
    PASSING = "passing"
    NO_TESTS = "no_tests"
    MISSING = "missing"

    @property
    def words(self) -> str:
        return self.value.replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFile:
    """status.json, as the session of a stage writes it, even when it fails.

    ``run_id``: the run that it tells the end of; empty: of one that ran no test; None: of whatever was recorded.
    ``status``: ``passed``, ``failed``, ``skipped`` where the project has no such tests, or ``left_out`` where the run
    was asked to do without. ``components``: those
    that were tested; ``of_components``: all that the project has, the last for what belongs to no other; None: those
    of DRM's own table.
    """

    status: str
    run_id: str | None = None
    stage: str = ""
    exit_code: int | None = None
    reason: str = ""
    components: tuple[str, ...] = ()
    of_components: tuple[str, ...] | None = None
    started_at: str = ""
    finished_at: str = ""
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One folder with the record of one run.

    ``why`` is one line for every state but passing. ``files``: what else lies there, relative to the reports.
    ``inner``: runs that this one's tests made; they are shown, and its tests judge them.
    """

    name: str
    state: State
    why: str = ""
    summary: RunSummary = field(default_factory=RunSummary)
    status: StatusFile | None = None
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    inner: tuple[RunReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Tests in one place, counted. ``passed`` includes expected failures; ``ran`` leaves out skipped and not run."""

    state: State
    collected: int = 0
    ran: int = 0
    passed: int = 0
    skipped: int = 0
    not_run: int = 0
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """One stage: its runs (one, or one per component), and how it stands."""

    name: str
    title: str
    state: State
    why: str = ""
    tests: Cell
    runs: tuple[RunReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentReport:
    """One component across the stages; ``cells`` has one per stage of the table, in its order."""

    slug: str
    title: str
    state: State
    tests: Cell
    cells: tuple[tuple[str, Cell], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of the code the stages ran: ``missing`` of so many ``statements`` did not run.

    ``percent``: of statements and of ``branches``, which are 0 where they were not measured.
    """

    percent: float
    statements: int
    missing: int
    branches: int = 0

    def sentence(self) -> str:
        """Return the figure in words."""
        measured = plural(self.statements, "statement")
        measured += f" and {self.branches} branches" if self.branches else ""
        return f"Coverage: {self.percent:.1f}% of {measured}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark. ``baseline_s`` is what its least time is compared with, None where nothing is stored.

    ``change``: 0.1 is 10 % slower; above ``limit``, the smallest effect that can be told from chance, it is one.
    ``low`` and ``high``: the change with the noise of the baseline on either side. ``past_s``: the least times of the
    last runs on this machine, oldest first. ``figures``: its measures of quality.
    """

    name: str
    min_s: float
    median_s: float
    rounds: int
    component: str = ""
    baseline_s: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    past_s: tuple[float, ...] = ()
    verdict: str = ""
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Something that needs a person: what kind of thing, in which run, and why.

    ``at_s``: when in that run it was first seen; None where it has no moment. ``times``: how often.
    """

    kind: str
    stage: str
    what: str
    why: str
    at_s: float | None = None
    times: int = 1


_ADDRESS = re.compile(r"https?://[A-Za-z0-9/:@!$&*+,;=~%?#\[\]._-]{1,4096}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A page of the CI provider: the run, the commit, the request, the artifacts.

    Raises ConfigError for an address that is not http(s), or that could end the quotes or brackets it is put in.
    """

    title: str
    url: str

    def __post_init__(self) -> None:
        if not _ADDRESS.fullmatch(self.url):
            shown = repr(self.url[:60])
            raise ConfigError(f"the link {self.title[:40]!r} leads to {shown}, which is no plain http(s) address")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContext:
    """Of what the newest run was, and where. ``machine``: its class; times of two classes are not compared.

    ``ci``: the provider, empty on a machine that is no CI's. ``links``: where in CI the report was made.
    """

    commit: str = ""
    branch: str = ""
    machine: str = ""
    platform: str = ""
    python: str = ""
    ci: str = ""
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that the stages left behind. ``headline`` is the verdict in one sentence."""

    state: State
    headline: str
    created_at: str
    drm_version: str
    tests: Cell
    context: ReportContext = field(default_factory=ReportContext)
    stages: tuple[StageReport, ...] = ()
    components: tuple[ComponentReport, ...] = ()
    own_run: StageReport | None = None
    coverage: Coverage | None = None
    benchmarks: tuple[Benchmark, ...] = ()
    problems: tuple[str, ...] = ()
    trends: Trends = field(default_factory=Trends)

    @property
    def commit(self) -> str:
        return self.context.commit

    @property
    def branch(self) -> str:
        return self.context.branch

    @property
    def machine(self) -> str:
        return self.context.machine

    @property
    def links(self) -> tuple[Link, ...]:
        return self.context.links

    @property
    def sections(self) -> tuple[StageReport, ...]:
        """Return what is shown, in order: the stages and the user's own run; a project without stages has only that."""
        if self.own_run is None:
            return self.stages
        return (*self.stages, self.own_run) if any(stage.runs for stage in self.stages) else (self.own_run,)
