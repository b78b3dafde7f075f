"""``drm ci analyze``: what the tests need, where that is known from, and what they would take on which workers."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from drm.ci_commands.analysis_text import analysis_lines
from drm.ci_commands.collecting import say_errors
from drm.ci_commands.discover import add_choices, choose
from drm.ci_commands.tables import Paragraphs, terminal_width
from drm.cicd_integration.analysis import Amount, Need, StageTotals, needs_of, totals_by_stage
from drm.cicd_integration.discovery import FoundTest
from drm.cicd_integration.fitting import Fit, fit_on, recommended
from drm.cicd_integration.python_imports import facts_of
from drm.history import open_history
from drm.model.cluster import WorkerType
from drm.model.errors import ConfigError
from drm.model.markers import parse_worker_type
from drm.model.resources import Resources
from drm.model.samples import Sample
from drm.model.units import parse_count_range
from drm.past import attempts_to_learn_from
from drm.reporting.text import one_line
from drm.run_options import capacity_of
from drm.worker.gpus import usable_gpus

__all__ = ["add_to"]

JSON_VERSION = 1
_EPILOG = """\
Options and paths that are not listed here are pytest's. Numbers come from marks, the [drm] section, the history of
past runs (.drm/history.db) and hints; "drm run" makes history. docs/analyze.md explains them.

exit codes: 0: also if tests do not fit; 2 if something could not be collected; 4 for wrong options; 5 for no tests.
"""


def add_to(commands: Any) -> None:
    """Add the command to those of ``drm ci``."""
    parser = commands.add_parser(
        "analyze",
        help="show what the tests need, and how long they take on which workers",
        usage="drm ci analyze [OPTIONS] [PYTEST OPTIONS] [FILES]",
        description="Show what the tests that pytest collects need, and how they fit workers; none is run.",
        epilog=_EPILOG,
        formatter_class=Paragraphs,
        allow_abbrev=False,
    )
    add_choices(parser)
    add = parser.add_argument
    add(
        "--worker-type",
        action="append",
        default=[],
        metavar="cpu=4,memory=8GiB,...",
        help="as --drm-worker-type, with price=USD an hour; may be given again (default: this machine)",
    )
    add("--workers", default="1", metavar="N", help="so many of each type (default: 1)")
    add("--tests", default="5", metavar="N|all", help="how many of the longest and of the largest to show (default: 5)")
    add("--json", action="store_true", help="for programs: every test, with where each number came from")
    parser.set_defaults(call=_analyze, pytest=[])


def _analyze(options: argparse.Namespace) -> int:
    types = _worker_types(options.worker_type)
    (_, count) = parse_count_range(options.workers, what="--workers", auto=1)
    most = _most(options.tests)
    suite, tests, _ = choose(options)
    counted = dict(suite.counted)
    samples = _history(Path(suite.rootdir), [test.task_id for test in tests])
    needs = needs_of(tests, samples, _libraries(tests))
    totals = totals_by_stage(needs)
    fits = [fit_on(needs, [(kind, count)], counted) for kind in types] if needs else []
    if needs and len(types) > 1:
        mix = recommended(needs, types, counted, maximum=count * len(types))
        fits += [fit_on(needs, mix, counted)] if len(mix) > 1 else []
    if options.json:
        print(json.dumps(_as_json(suite.rootdir, needs, totals, fits), indent=1))
    else:
        print("\n".join(analysis_lines(needs, totals, fits, most=most, width=terminal_width())))
    return say_errors(suite)


def _most(text: str) -> int | None:
    """Return how many tests to show; None for all."""
    if text == "all":
        return None
    if not text.isdecimal() or len(text) > 9:
        raise ConfigError(f"--tests: {text!r} is not a number of tests", remedy="give a number, or all")
    return int(text)


def _worker_types(texts: Sequence[str]) -> list[WorkerType]:
    """Return the types that are given, else this machine as one. ConfigError for two of a name."""
    machine = capacity_of(None, None, 0)
    if not texts:
        here = Resources(cpu_cores=machine.cpu_cores, memory_bytes=machine.memory_bytes, gpus=usable_gpus(os.environ))
        return [WorkerType(name="this machine", capacity=here)]
    types = [
        parse_worker_type(text, machine=machine, number=number if len(texts) > 1 else 0, what="--worker-type")
        for number, text in enumerate(texts, start=1)
    ]
    names = [kind.name for kind in types]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--worker-type: two are called {one_line(name)!r}", remedy="give each its own name=...")
    return types


def _history(rootdir: Path, task_ids: Sequence[str]) -> Mapping[str, Sequence[Sample]]:
    """Return what past runs measured; nothing, and no file made, where there were none."""
    path = rootdir / ".drm" / "history.db"
    if not path.is_file():
        return {}
    history = open_history(path, warn=lambda line: print(f"drm: {one_line(line, 400)}", file=sys.stderr))
    try:
        return history.samples(task_ids, last=attempts_to_learn_from(len(task_ids)))
    finally:
        history.close()


def _libraries(tests: Iterable[FoundTest]) -> dict[str, frozenset[str]]:
    """Return what each test file imports, by its path; nothing of one that cannot be read."""
    found = {}
    for path in {test.path for test in tests}:
        try:
            found[path] = facts_of(Path(path).read_bytes()).libraries
        except OSError:
            found[path] = frozenset()
    return found


def _as_json(rootdir: str, needs: Sequence[Need], totals: Sequence[StageTotals], fits: Sequence[Fit]) -> dict[str, Any]:
    return {
        "schema_version": JSON_VERSION,
        "rootdir": rootdir,
        "tests": [_need(need) for need in needs],
        "stages": [{name: getattr(row, name) for name in row.__slots__} for row in totals],
        "workers": [_fit(fit) for fit in fits],
    }


def _need(need: Need) -> dict[str, Any]:
    test, asked = need.test, need.task.requirements
    amounts = {name: getattr(need, name) for name in ("cpu_cores", "memory_bytes", "gpus", "wall_s")}
    return {
        "id": test.task_id,
        "file": test.file,
        "line": test.line,
        "stage": test.stage,
        "component": test.component,
        **{name: _amount(amount) for name, amount in amounts.items()},
        "labels": sorted(asked.labels),
        "claims": dict(asked.claims),
        "group": asked.group,
        "timeout_s": asked.timeout_s,
    }


def _amount(amount: Amount) -> dict[str, Any]:
    return {"value": amount.value, "source": amount.source, "because": amount.because}


def _fit(fit: Fit) -> dict[str, Any]:
    return {
        "workers": [
            {
                "name": kind.name,
                "count": count,
                "cpu_cores": kind.capacity.cpu_cores,
                "memory_bytes": kind.capacity.memory_bytes,
                "gpus": kind.capacity.gpus,
                "labels": sorted(kind.labels),
                "usd_per_hour": kind.usd_per_hour,
            }
            for kind, count in fit.workers
        ],
        "tests_placed": fit.placed,
        "misfits": [
            {"id": misfit.task_id, "reason": misfit.reason, "certain": misfit.is_certain} for misfit in fit.misfits
        ],
        "makespan_s": fit.makespan_s,
        "lower_bound_s": fit.lower_bound_s,
        "usd": fit.usd,
    }
