"""From runs, wherever they were read, to one report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import drm
from drm.model.stages import STAGES, Stage
from drm.model.trends import Trends
from drm.reporting import verdict
from drm.reporting.report import Benchmark, Coverage, Link, Report, ReportContext, RunReport
from drm.summary import RunSummary

__all__ = ["NO_TRENDS", "OWN_RUN", "assemble"]

NO_TRENDS = Trends()

OWN_RUN = Stage(name="run", summary="drm run, outside the stages and their verdict", paths=())


def assemble(
    found: Mapping[str, Sequence[RunReport]],
    *,
    created_at: str,
    coverage: Coverage | None = None,
    benchmarks: tuple[Benchmark, ...] = (),
    problems: tuple[str, ...] = (),
    links: tuple[Link, ...] = (),
    ci: str = "",
    trends: Trends = NO_TRENDS,
    only: Sequence[str] = (),
) -> Report:
    """Return the report of the runs, by the name of their stage; ``OWN_RUN`` names those of no stage.

    ``only``: the stages to report on, as if there were no others; all if none is named.
    """
    wanted = tuple(stage for stage in STAGES if not only or stage.name in only)
    runs = {stage.name: found.get(stage.name, ()) for stage in (*wanted, OWN_RUN)}
    newest = _newest([run for stage in wanted for run in runs[stage.name]] or runs[OWN_RUN.name])
    stages = tuple(verdict.judge_stage(stage, runs[stage.name], newest.commit) for stage in wanted)
    own_run = verdict.judge_stage(OWN_RUN, runs[OWN_RUN.name], "") if runs[OWN_RUN.name] else None
    counted = [stage for stage in stages if stage.runs] or ([own_run] if own_run is not None else [])
    tests = verdict.cell_of(test for stage in counted for run in stage.runs for test in run.summary.tests)
    state = verdict.overall(stages, own_run)
    return Report(
        state=state,
        headline=verdict.headline(state, stages, own_run, tests),
        created_at=created_at,
        drm_version=drm.__version__,
        tests=tests,
        context=ReportContext(
            commit=newest.commit,
            branch=newest.branch,
            machine=newest.machine,
            platform=newest.platform,
            python=newest.python,
            ci=ci,
            links=links,
        ),
        stages=stages,
        components=verdict.components(stages, frozenset(stage.name for stage in wanted if stage.by_component)),
        own_run=own_run,
        coverage=coverage,
        benchmarks=benchmarks,
        problems=problems,
        trends=trends,
    )


def _newest(runs: Sequence[RunReport]) -> RunSummary:
    return max((run.summary for run in runs), key=lambda summary: summary.started_at, default=RunSummary())
