"""``drm bench compare BASE [HEAD]``: is the one version of a project slower than the other?"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drm.bench_commands.changed import changed_functions
from drm.bench_commands.measuring import Bench, pairs_of
from drm.bench_commands.trees import Tree, two_trees
from drm.bench_commands.verdicts import Comparison, Verdict, compare_all, confirm, suspects
from drm.ci_commands.tables import Paragraphs, table, terminal_width
from drm.command_line import seconds
from drm.model.errors import ConfigError

__all__ = ["add_to", "lines_of"]

_PAIRS = 7
_TIMERS = {"cpu": "time.process_time", "wall": "time.perf_counter"}
_MOST_NAMED = 5
_DESCRIPTION = """\
Run the benchmarks (pytest-benchmark) of two versions in turn, each in a worktree of its own, and say which are slower
by more than chance. Arguments after -- are pytest's: paths (default: benchmarks) and options.

A benchmark is slower when the median of the pairs' ratios is above +5 %, the lower limit of its 95 % interval above
+2 %, and a second comparison says the same. Then the exit code is 1; 4 when nothing could be compared.
"""


def add_to(commands: Any) -> None:
    """Add the command to those of ``drm bench``."""
    parser = commands.add_parser(
        "compare",
        help="is one version of a project slower than another?",
        description=_DESCRIPTION,
        formatter_class=Paragraphs,
    )
    add = parser.add_argument
    add("base", help="a commit to compare with")
    add("head", nargs="?", help="the other one (default: the working tree, without untracked files)")
    add("--pairs", type=int, default=_PAIRS, metavar="N", help=f"runs of each version (default: {_PAIRS})")
    add("--timer", choices=sorted(_TIMERS), default="cpu", help="what is measured (default: cpu time)")
    add("--timeout", type=seconds, default=1800.0, metavar="S", help="for one run, in seconds (default: 1800)")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(call=_compare, pytest=[])


def _compare(options: argparse.Namespace) -> int:
    if options.pairs < 3:
        raise ConfigError(f"--pairs {options.pairs}: too few to tell noise from a change", remedy="give 3 or more")

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    given = tuple(options.pytest)
    arguments = given if any(not each.startswith("-") for each in given) else ("benchmarks", *given)
    with (
        two_trees(Path.cwd(), options.base, options.head) as trees,
        tempfile.TemporaryDirectory(prefix="drm-bench-") as results,
    ):
        bench = Bench(
            arguments=arguments, timer=_TIMERS[options.timer], timeout_s=options.timeout, results=Path(results)
        )
        rows = compare_all(pairs_of(trees, bench, options.pairs, say=say))
        if not rows:
            raise ConfigError("drm bench compare: no benchmark was run", remedy="name their files after --")
        doubtful = suspects(rows)
        if doubtful:
            say(f"{len(doubtful)} seem slower: they are run again")
            rows = confirm(rows, compare_all(pairs_of(trees, bench, options.pairs, only=doubtful, say=say)))
        named = _named(trees, bench, suspects(rows))
    if options.json:
        print(json.dumps([{**asdict(row), "changed": named.get(row.name, [])} for row in rows]))
    else:
        print("\n".join(lines_of(rows, named, names=(trees[0].name, trees[1].name), width=terminal_width())))
    return 1 if any(row.verdict is Verdict.SLOWER for row in rows) else 0


def _named(trees: tuple[Tree, Tree], bench: Bench, slower: Sequence[str]) -> dict[str, list[str]]:
    """Return per slower benchmark the functions that it calls and that differ between the versions."""
    if not slower:
        return {}
    changed = changed_functions(*trees)
    calls = bench.calls(trees[1], slower)
    return {
        name: [each.describe() for each in changed if each.is_called(calls.get(name, frozenset()))] for name in slower
    }


def lines_of(
    rows: Sequence[Comparison], named: Mapping[str, Sequence[str]], *, names: tuple[str, str], width: int | None = None
) -> Iterator[str]:
    """Yield the lines for a person: a table, what differs in what is slower, and what could have been found."""
    base, head = names
    cells: list[list[object]] = [["benchmark", base, head, "change", "95 % interval", "found from", "verdict"]]
    for row in rows:
        if row.ratios is None:
            cells.append([row.name, None, None, None, None, None, f"{row.verdict.value}: {row.why}"])
            continue
        found = row.ratios
        cells.append(
            [
                row.name,
                _seconds(row.base_s),
                _seconds(row.head_s),
                f"{found.median - 1:+.1%}",
                f"{found.lower - 1:+.1%} to {found.upper - 1:+.1%}",
                f"{found.detectable:+.0%}",
                f"{row.verdict.value}{f': {row.why}' if row.why else ''}",
            ]
        )
    yield from table(cells, right=range(1, 4), width=width)
    yield ""
    for row in rows:
        if row.verdict is Verdict.SLOWER and row.ratios is not None:
            functions = named.get(row.name, [])
            more = f" and {len(functions) - _MOST_NAMED} more" if len(functions) > _MOST_NAMED else ""
            which = "; ".join(functions[:_MOST_NAMED]) + more if functions else "nothing that it calls in Python"
            yield f"{row.name} is {row.ratios.median - 1:.0%} slower; changed of what it calls: {which}"
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    yield f"{head} against {base}: " + ", ".join(
        f"{count} {verdict.value}" for verdict, count in counts.items() if count
    )
    compared = [row.ratios.detectable for row in rows if row.ratios is not None]
    if compared:
        least, most = f"{min(compared):.0%}", f"{max(compared):.0%}"
        size = least if least == most else f"{least} (of the steadiest) to {most} (of the least steady)"
        yield f"a slowdown of {size} would have been found"


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"
