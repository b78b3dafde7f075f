"""How large is report.html, and what does it cost to make and to open, beside pytest-html and Allure?

    python -m benchmarks.reporting [--json]

All report the same made-up results. Chromium opens each page anew, the contestants in turn; of some rounds the median
counts, as cpu seconds of all its processes above those of an empty page. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reporting.opening import Opening, open_page
from benchmarks.reporting.peers import allure, pytest_html
from benchmarks.reporting.synthetic import Shape, leave
from drm.reporting.collect import build_report

MB = 1e6
_MAKE = """
import json, sys, time
from pathlib import Path
from drm.reporting.collect import build_report
from drm.reporting.html import render_html

began = time.process_time()
report = build_report(Path(sys.argv[1]))
read = time.process_time()
text = render_html(report)
made = time.process_time()
Path(sys.argv[2]).write_text(text, encoding="utf-8")
# Not ru_maxrss: that is never less than what the process that started this one had.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
print(json.dumps({"read_s": read - began, "render_s": made - read, "peak_bytes": peak}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a page of a size must keep to."""

    tests: int
    samples: int
    most_bytes: float
    most_cpu_s: float
    most_render_s: float | None = None
    most_peak_bytes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of them, and what it must keep to."""

    what: str
    value: float
    most: float | None = None
    least: float | None = None

    @property
    def is_kept(self) -> bool:
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    def __str__(self) -> str:
        limit = f"at most {self.most:.3g}" if self.most is not None else f"at least {self.least:.3g}"
        return f"{self.what}: {self.value:.3g}, {limit}"


BARS = (
    Bar(tests=20_000, samples=50_000, most_bytes=1e6, most_cpu_s=1.0, most_render_s=2.0, most_peak_bytes=200e6),
    Bar(tests=100_000, samples=200_000, most_bytes=3e6, most_cpu_s=2.0),
)
_MOST_ZOOM_S = 0.1
_PEER_TESTS, _LEAST_SMALLER, _LEAST_CHEAPER = 10_000, 10.0, 20.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reporting", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that every page is opened (default: 3)")
    parser.add_argument("--no-peers", action="store_true", help="DRM's own page only")
    parser.add_argument("--json", action="store_true", help="print the figures as a line of JSON as well")
    given = parser.parse_args(arguments)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for bar in BARS:
            figures += _ours(bar, folder / f"t{bar.tests}", given.rounds)
        if not given.no_peers:
            figures += _peers(folder / "peers", given.rounds)
    missed = [figure for figure in figures if not figure.is_kept]
    print("\n".join(f"MISSED: {figure}" for figure in missed) or "all bars kept")
    if given.json:
        print(json.dumps({figure.what: figure.value for figure in figures}))
    return 1 if missed else 0


def _ours(bar: Bar, folder: Path, rounds: int) -> list[Figure]:
    page, made = _make(folder, Shape(tests=bar.tests, workers=24, samples=bar.samples))
    openings = [open_page(page, is_ours=True) for _ in range(rounds)]
    cpu_s, size = statistics.median(opening.cpu_s for opening in openings), page.stat().st_size
    drawn_s = statistics.median(opening.drawn_s or 0.0 for opening in openings)
    zoom_s = statistics.median(opening.zoom_s or 0.0 for opening in openings)
    print(f"{bar.tests} tests, {bar.samples} samples: {size / MB:.2f} MB; to open {cpu_s:.2f} cpu-s, drawn after")
    print(f"  {drawn_s:.2f} s; zoom {1000 * zoom_s:.0f} ms; made in {made['render_s']:.2f} cpu-s", end="")
    print(f" (the record read in {made['read_s']:.2f}), peak {made['peak_bytes'] / MB:.0f} MB", flush=True)
    found = (
        ("page, bytes", size, bar.most_bytes),
        ("opened, cpu s", cpu_s, bar.most_cpu_s),
        ("zoom, s", zoom_s, _MOST_ZOOM_S),
        ("made, cpu s", made["render_s"], bar.most_render_s),
        ("made, bytes of memory", made["peak_bytes"], bar.most_peak_bytes),
    )
    return [
        Figure(what=f"{bar.tests} tests: {what}", value=value, most=most)
        for what, value, most in found
        if most is not None
    ]


def _make(folder: Path, shape: Shape) -> tuple[Path, dict[str, float]]:
    leave(folder / shape.stage, shape)
    page = folder / "report.html"
    command = [sys.executable, "-c", _MAKE, str(folder), str(page)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
    return page, json.loads(told)


def _peers(folder: Path, rounds: int) -> list[Figure]:
    shape = Shape(tests=_PEER_TESTS, workers=24, samples=25_000)
    ours, _ = _make(folder, shape)
    (summary,) = (run.summary for stage in build_report(folder).sections for run in stage.runs)
    pages = {"drm": ours, "pytest-html": pytest_html(summary, folder), "allure": allure(summary, folder)}
    openings: dict[str, list[Opening]] = {name: [] for name in pages}
    for _ in range(rounds):
        for name, page in pages.items():
            if page is not None:
                openings[name].append(open_page(page, is_ours=name == "drm"))
    print(f"\n{_PEER_TESTS} tests      size      to open      as large   as dear")
    figures = {}
    for name, page in pages.items():
        if page is None:
            print(f"{name:12} not installable here (npm, java)")
            continue
        size, cpu_s = page.stat().st_size, statistics.median(opening.cpu_s for opening in openings[name])
        figures[name] = (size, cpu_s)
        ratios = (size / figures["drm"][0], cpu_s / figures["drm"][1])
        print(f"{name:12} {size / MB:6.2f} MB {cpu_s:6.2f} cpu-s {ratios[0]:9.1f}x {ratios[1]:8.1f}x", flush=True)
    smaller, cheaper = (figures["pytest-html"][place] / figures["drm"][place] for place in (0, 1))
    return [
        Figure(what="pytest-html's page, as large", value=smaller, least=_LEAST_SMALLER),
        Figure(what="pytest-html's page, as dear to open", value=cheaper, least=_LEAST_CHEAPER),
    ]


if __name__ == "__main__":
    sys.exit(main())
