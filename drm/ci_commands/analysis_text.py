"""What ``drm ci analyze`` shows people. Pure text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from drm.ci_commands.tables import table
from drm.cicd_integration.analysis import Amount, Need, StageTotals
from drm.cicd_integration.fitting import Fit, Misfit
from drm.model.cluster import WorkerType
from drm.model.units import format_bytes, format_duration
from drm.reporting.text import amount, one_line, plural

__all__ = ["analysis_lines"]

_MOST_REASONS = 6
_SOURCES = ("marker", "configuration", "history", "siblings", "fixture", "other_mark", "import", "run", "default")
_MEANING = {
    "history": "time: median of the last 3 attempts; memory: the largest of them and a tenth more",
    "siblings": "the same function or module; time: mean; memory: mean and two deviations, or half as much again",
    "run": "all tests seen; time: mean; memory: mean and two deviations, or half as much again, 256 MiB at least",
}
_HINTS = ("fixture", "other_mark", "import")


def analysis_lines(
    needs: Sequence[Need],
    totals: Sequence[StageTotals],
    fits: Sequence[Fit],
    *,
    most: int | None,
    width: int | None = None,
) -> list[str]:
    """Return the analysis. ``most``: how many of the longest tests, and of the largest, are shown; None for all.

    ``width``: of the terminal, if there is one.
    """
    if not needs:
        return ["no tests"]
    parts = [
        _stages(totals),
        _sources(needs, width),
        *_tests(needs, most, width),
        _hinted(needs, width),
        _workers(fits),
        *(_misfits(fit, width) for fit in fits),
    ]
    lines = [line for part in parts if part for line in (*part, "")]
    return lines[:-1]


def _stages(totals: Sequence[StageTotals]) -> list[str]:
    rows: list[list[object]] = [["stage", "tests", "work", "longest", "core time", "largest", "gpu tests", "measured"]]
    rows += [
        [
            row.stage,
            row.tests,
            amount(row.wall_s),
            amount(row.longest_s),
            amount(row.cpu_core_s),
            format_bytes(row.largest_bytes),
            row.gpu_tests or "-",
            f"{100 * row.measured // row.tests}%",
        ]
        for row in totals
    ]
    if len(totals) > 1:
        tests = sum(row.tests for row in totals)
        rows.append(
            [
                "all",
                tests,
                amount(sum(row.wall_s for row in totals)),
                amount(max(row.longest_s for row in totals)),
                amount(sum(row.cpu_core_s for row in totals)),
                format_bytes(max(row.largest_bytes for row in totals)),
                sum(row.gpu_tests for row in totals) or "-",
                f"{100 * sum(row.measured for row in totals) // tests}%",
            ]
        )
    return table(rows, right=range(1, 8))


def _sources(needs: Sequence[Need], width: int | None) -> list[str]:
    """Say how many tests have each number from where."""
    names = (("time", "wall_s"), ("memory", "memory_bytes"), ("cores", "cpu_cores"), ("gpus", "gpus"))
    counts = [Counter(getattr(need, field).source for need in needs) for _, field in names]
    used = [source for source in _SOURCES if any(source in each for each in counts)]
    rows: list[list[object]] = [["where from", *(source.replace("_", " ") for source in used)]]
    rows += [[name, *(each[source] or "-" for source in used)] for (name, _), each in zip(names, counts, strict=True)]
    lines = table(rows, right=range(1, len(used) + 1))
    lines += table(
        [(f"{source}:", _MEANING[source]) for source in used if source in _MEANING], indent="  ", width=width
    )
    unknown = counts[0]["default"] + counts[0]["run"]
    if unknown:
        lines.append(f"{plural(unknown, 'test')} never measured: their times are guesses; drm run measures them")
    return lines


def _tests(needs: Sequence[Need], most: int | None, width: int | None) -> Iterator[list[str]]:
    if most is None:
        yield ["every test", *_rows(needs, width)]
        return
    for title, field in (("longest", "wall_s"), ("largest", "memory_bytes")):
        told = [need for need in needs if getattr(need, field).source not in ("default", "run")]
        told.sort(key=lambda need: (-getattr(need, field).value, need.test.task_id))
        if told[:most]:
            yield [f"the {title}", *_rows(told[:most], width)]


def _rows(needs: Sequence[Need], width: int | None) -> list[str]:
    return table(
        [
            (
                _from(amount(need.wall_s.value), need.wall_s),
                _from(format_bytes(need.memory_bytes.value), need.memory_bytes),
                _from(f"{need.cpu_cores.value:g} cpu", need.cpu_cores),
                _from(f"{need.gpus.value:g} gpu", need.gpus) if need.gpus.value else "",
                _claims(need),
                need.test.task_id,
            )
            for need in needs
        ],
        indent="  ",
        width=width,
    )


def _from(text: str, number: Amount) -> str:
    return f"{text} ({number.source.replace('_', ' ')})"


def _claims(need: Need) -> str:
    asked = need.task.requirements
    parts = [
        *sorted(asked.labels),
        *(name for name, _ in asked.claims),
        *([f"group {asked.group}"] if asked.group else []),
    ]
    return ", ".join(parts)


def _hinted(needs: Sequence[Need], width: int | None) -> list[str]:
    """Say which numbers are hints: a run does not reserve them."""
    hints = Counter(
        (f"{need.gpus.value:g} gpu" if field == "gpus" else format_bytes(need.memory_bytes.value), number.because)
        for need in needs
        for field, number in (("memory", need.memory_bytes), ("gpus", need.gpus))
        if number.source in _HINTS
    )
    rows = [(plural(count, "test"), value, because) for (value, because), count in hints.most_common(_MOST_REASONS)]
    return (
        ["hints, which a run does not reserve: say it with a mark if it is so", *table(rows, indent="  ", width=width)]
        if rows
        else []
    )


def _workers(fits: Sequence[Fit]) -> list[str]:
    rows: list[list[object]] = [["workers", "each", "tests", "unfit", "unsure", "makespan", "at best", "USD"]]
    for fit in fits:
        certain = sum(misfit.is_certain for misfit in fit.misfits)
        rows.append(
            [
                ", ".join(f"{count} {kind.name}" for kind, count in fit.workers),
                _capacity(fit.workers[0][0]) if len(fit.workers) == 1 else "as recommended",
                fit.placed,
                certain or "-",
                len(fit.misfits) - certain or "-",
                format_duration(fit.makespan_s),
                format_duration(fit.lower_bound_s),
                _usd(fit),
            ]
        )
    return table(rows, right=range(2, 8))


def _capacity(kind: WorkerType) -> str:
    parts = [kind.capacity.describe(), *sorted(kind.labels)]
    return ", ".join([*parts, f"${kind.usd_per_hour:g}/h"] if kind.usd_per_hour else parts)


def _usd(fit: Fit) -> str:
    if not any(kind.usd_per_hour for kind, _ in fit.workers):
        return "-"
    return f"{fit.usd:.2f}" if fit.usd >= 0.1 else f"{fit.usd:.2g}"


def _misfits(fit: Fit, width: int | None) -> list[str]:
    """Say why tests do not fit: by what is lacking, the test that asks for most of it."""
    groups: dict[tuple[bool, tuple[str, ...]], list[Misfit]] = {}
    for misfit in fit.misfits:
        groups.setdefault((not misfit.is_certain, misfit.lacks), []).append(misfit)
    if not groups or len(fit.workers) != 1:
        return []
    rows = []
    for (unsure, _), misfits in sorted(groups.items()):
        most = max(misfits, key=lambda row: (row.amounts.gpus, row.amounts.memory_bytes, row.amounts.cpu_cores))
        says = "may not fit" if unsure else "does not fit" if len(misfits) == 1 else "do not fit"
        whose = "" if len(misfits) == 1 else "one "
        rows.append((plural(len(misfits), "test"), says, whose + most.reason, most.task_id))
    return [f"on {one_line(fit.workers[0][0].name)}", *table(rows, indent="  ", width=width)]
