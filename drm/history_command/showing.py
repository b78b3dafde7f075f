"""``drm history show`` and ``stats``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drm.ci_commands.tables import table
from drm.command_line import count
from drm.history.database import Database
from drm.history.flakiness import FlakyRate, flaky_rates
from drm.model.errors import ConfigError
from drm.model.units import format_bytes
from drm.model.work import Task
from drm.resource_performance_predictor import Prediction, ResourcePerformancePredictor, assess

_FLAKIEST = 10
_LEARN_FROM = 20
_COUNTS = (
    ("tests", "SELECT count(*) FROM tests"),
    ("runs", "SELECT count(*) FROM runs"),
    ("attempts", "SELECT count(*) FROM attempts"),
    ("cut_short", "SELECT count(*) FROM attempts WHERE outcome IS NULL"),
    ("killed_for_memory", "SELECT count(*) FROM attempts WHERE death = 'memory'"),
)


def open_existing(path: Path) -> Database:
    """Return the history; ConfigError where there is none."""
    if not path.is_file():
        raise ConfigError(f"there is no history {path}", remedy='make one with "drm run", or name one with --file')
    return Database(path)


def add_to(commands: Any) -> None:
    """Add the commands to those of ``drm history``."""
    show = commands.add_parser("show", help="the attempts of tests, and what is predicted for the next")
    show.add_argument("test", metavar="TEST", help="a nodeid, or a part of one")
    show.add_argument("--last", type=count, default=10, metavar="N", help="so many attempts of each test (default: 10)")
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(call=_show)
    stats = commands.add_parser("stats", help="how much is remembered, and which tests are flaky")
    stats.add_argument("--json", action="store_true", help="for programs")
    stats.set_defaults(call=_stats)


def _show(options: argparse.Namespace) -> int:
    store = open_existing(options.file)
    try:
        known = store.task_ids()
        found = [options.test] if options.test in known else [name for name in known if options.test in name]
        if not found:
            print(f"no test of which {options.file} knows has {options.test!r} in its name")
            return 1
        samples = store.samples(found, last=max(_LEARN_FROM, options.last))
    finally:
        store.abandon()
    predictor = ResourcePerformancePredictor()
    predictor.train_models(samples)
    tasks = [Task(task_id=task_id, scope=task_id.partition("::")[0]) for task_id in found]
    for task_id, task in zip(found, tasks, strict=True):
        rows = list(samples.get(task_id, ()))[-options.last :]
        prediction = predictor.predict_distribution(task)
        if options.json:
            print(
                json.dumps(
                    {
                        "test": task_id,
                        "prediction": prediction.as_dict(),
                        "attempts": [
                            {
                                "at": row.at,
                                "outcome": row.outcome.value if row.outcome else None,
                                "wall_s": row.usage.wall_s,
                                "cpu_s": row.usage.cpu_s,
                                "peak_rss_bytes": row.usage.peak_rss_bytes,
                                "gpu_bytes": row.usage.gpu_bytes,
                                "reserved_bytes": row.reserved_bytes,
                                "death": row.death,
                                "machine": row.machine,
                            }
                            for row in rows
                        ],
                    }
                )
            )
            continue
        lines = [("when", "outcome", "seconds", "cpu s", "memory", "reserved", "machine")]
        lines += [
            (
                _when(row.at),
                (row.outcome.value if row.outcome else "cut short") + (f" ({row.death})" if row.death else ""),
                f"{row.usage.wall_s:.3f}",
                f"{row.usage.cpu_s:.3f}",
                format_bytes(row.usage.peak_rss_bytes),
                format_bytes(row.reserved_bytes) if row.reserved_bytes else "",
                row.machine,
            )
            for row in rows
        ]
        print("\n".join([*table([(task_id,)]), *table(lines, right=(2, 3, 4, 5), indent="  "), ""]))
        print("\n".join(f"  {line}" for line in prediction.sentences()), end="\n\n")
    if len(found) > 1:  # a module, a folder, a function with its parameters
        _show_together(predictor.predict_together(options.test, tasks), len(found), as_json=options.json)
    return 0


def _show_together(prediction: Prediction, tests: int, *, as_json: bool) -> None:
    """Show what is predicted of a test taken at random from those that were found."""
    if as_json:
        print(json.dumps({"together": prediction.task_id, "tests": tests, "prediction": prediction.as_dict()}))
        return
    print("\n".join(table([(f"any of the {tests} tests with {prediction.task_id!r} in their names",)])))
    print("\n".join(f"  {line}" for line in prediction.sentences()))


def _stats(options: argparse.Namespace) -> int:
    store = open_existing(options.file)
    try:
        counts = {name: store.connection.execute(query).fetchone()[0] for name, query in _COUNTS}
        first, last = store.connection.execute("SELECT min(at), max(at) FROM attempts").fetchone()
        rates = flaky_rates(store.connection)
        run = store.last_run()
        began = min((row.at for row in run), default=0.0)
        past = store.samples([row.task_id for row in run], last=_LEARN_FROM)
    finally:
        store.abandon()
    made = assess({name: [row for row in rows if row.at < began] for name, rows in past.items()}, run)
    flaky = [rate for rate in rates if rate.flaky][:_FLAKIEST]
    size = options.file.stat().st_size
    if options.json:
        print(
            json.dumps(
                {"file": str(options.file), "bytes": size, **counts, "first_at": first, "last_at": last}
                | {"flaky": [_as_dict(rate) for rate in flaky], "last_run": asdict(made)}
            )
        )
        return 0
    print(f"{options.file}: {format_bytes(size)}")
    rows: list[tuple[object, object]] = [(name.replace("_", " "), count) for name, count in counts.items()]
    if first is not None:
        rows += [("first", _when(first)), ("last", _when(last))]
    print("\n".join(table(rows, right=(1,), indent="  ")))
    if made.median_error is not None and made.covered is not None:
        print(f"last run: {made.predicted} durations predicted, median error {made.median_error:.1%}; ", end="")
        print(f"{made.covered:.0%} within the interval of 90 %")
    if run:
        print(
            f"last run: {made.reserved_gib_hours:.3g} GiB-hours reserved, {made.unused_gib_hours:.3g} of them ", end=""
        )
        print(f"not used; {made.too_small} attempts used more than they had")
    if flaky:
        print("flaky: failed and passed on one state of the code")
        lines = [("rate", "95 % interval", "flaky on", "test")]
        lines += [
            (f"{rate.rate:.0%}", f"{rate.low:.0%} to {rate.high:.0%}", f"{rate.flaky} of {rate.seen}", rate.task_id)
            for rate in flaky
        ]
        print("\n".join(table(lines, right=(0,), indent="  ")))
    return 0


def _as_dict(rate: FlakyRate) -> dict[str, object]:
    return {
        "test": rate.task_id,
        "rate": round(rate.rate, 4),
        "low": round(rate.low, 4),
        "high": round(rate.high, 4),
        "flaky": rate.flaky,
        "seen": rate.seen,
    }


def _when(at: float) -> str:
    """Return the time, or what is written in its place where no clock can have said so."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at:g}"
