"""Coverage and benchmarks, read from the files of the tools that measured them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drm.model.errors import DrmError
from drm.reporting.codec import decode
from drm.reporting.files import read_json
from drm.reporting.report import Benchmark, Coverage

__all__ = ["read_benchmarks", "read_coverage"]


def read_coverage(path: Path, problems: list[str]) -> Coverage | None:
    """Return the totals of coverage.py's JSON report; None without one. What is wrong goes to ``problems``."""
    if not path.exists():
        return None
    try:
        totals = read_json(path, remedy="run `nox -s report` again")["totals"]
        percent = float(totals["percent_covered"])
        if not 0 <= percent <= 100:
            raise ValueError(f"percent_covered is {percent}")
        return Coverage(
            percent=percent,
            statements=int(totals["num_statements"]),
            missing=int(totals["missing_lines"]),
            branches=int(totals.get("num_branches") or 0),
        )
    except DrmError as error:
        problems.append(str(error))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problems.append(f"{path}: is no coverage report ({type(error).__name__}: {error}); run `nox -s report` again")
    return None


def read_benchmarks(folders: Iterable[Path], problems: list[str]) -> tuple[Benchmark, ...]:
    """Return what the performance stage measured, beside the stored baselines; pytest-benchmark's own file will do.

    ``folders``: those of the stage.
    """
    found: list[Benchmark] = []
    for path in (folder / "benchmark.json" for folder in folders):
        try:
            if path.exists():
                found += [_benchmark(item) for item in read_json(path)["benchmarks"]]
        except (DrmError, KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, DrmError) and str(path) in str(error):
                problems.append(str(error))  # it could not be read, and says so
                continue
            problems.append(f"{path}: is no benchmark report ({type(error).__name__}: {error}); run the stage again")
    return tuple(found)


def _benchmark(item: dict[str, Any]) -> Benchmark:
    stats = item.get("stats")
    if stats is not None:  # pytest-benchmark's own --benchmark-json: no baseline in it
        item = {"name": item["name"], "min_s": stats["min"], "median_s": stats["median"], "rounds": stats["rounds"]}
    figures = {str(key): str(value) for key, value in (item.get("extra") or {}).items()}
    return decode(Benchmark, {**item, "figures": [list(pair) for pair in figures.items()]})
