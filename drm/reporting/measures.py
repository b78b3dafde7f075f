"""Coverage and benchmarks, read from the files of the tools that measured them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drm.model.errors import DrmError
from drm.reporting.files import read_json
from drm.reporting.report import Benchmark, Coverage

__all__ = ["read_benchmarks", "read_coverage"]


def read_coverage(path: Path, problems: list[str]) -> Coverage | None:
    """Return the totals of coverage.py's JSON report; None without one. What is wrong goes to ``problems``."""
    if not path.exists():
        return None
    try:
        totals = read_json(path, remedy="run `nox -s report` again")["totals"]
        return Coverage(
            percent=float(totals["percent_covered"]),
            statements=int(totals["num_statements"]),
            missing=int(totals["missing_lines"]),
        )
    except DrmError as error:
        problems.append(str(error))
    except (KeyError, TypeError, ValueError) as error:
        problems.append(f"{path}: is no coverage report ({type(error).__name__}: {error}); run `nox -s report` again")
    return None


def read_benchmarks(root: Path, problems: list[str]) -> tuple[Benchmark, ...]:
    """Return what pytest-benchmark wrote in the performance stage, with the stored baselines where it names them."""
    path = root / "performance" / "benchmark.json"
    if not path.exists():
        return ()
    try:
        return tuple(_benchmark(item) for item in read_json(path)["benchmarks"])
    except DrmError as error:
        problems.append(str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problems.append(f"{path}: is no benchmark report ({type(error).__name__}: {error}); run the stage again")
    return ()


def _benchmark(item: dict[str, Any]) -> Benchmark:
    stats, extra = item["stats"], item.get("extra_info") or {}
    baseline = extra.get("baseline_median_s")
    return Benchmark(
        name=str(item["name"]),
        median_s=float(stats["median"]),
        mean_s=float(stats["mean"]),
        stddev_s=float(stats["stddev"]),
        rounds=int(stats["rounds"]),
        baseline_s=float(baseline) if baseline is not None else None,
        verdict=str(extra.get("verdict", "")),
    )
