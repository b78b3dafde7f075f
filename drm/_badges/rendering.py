"""How one badge is drawn and written: SVG through pybadges, the JSON of shields' endpoint badge, and a meta file."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from drm.model.errors import ConfigError
from drm.reporting.files import write_atomic
from drm.reporting.report import Cell, Report, State
from drm.reporting.text import one_line

__all__ = ["COLORS", "NO_TESTS", "Badge", "load_pybadges", "write_badge"]

# White text on each of these has a contrast of at least 4.5 (WCAG 2.2, 1.4.3).
COLORS = {
    State.ERROR: "#6d28d9",
    State.FAILING: "#c62828",
    State.PARTIAL: "#b45309",
    State.STALE: "#616161",
    State.PASSING: "#2e7d32",
    State.NO_TESTS: "#616161",
    State.MISSING: "#616161",
}
NO_TESTS = Cell(state=State.NO_TESTS)
_LABEL_COLOR = "#333"  # the usual #555 is next to no edge beside the grey of stale and no status
_CACHE_S = 300
_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)  # in an id, to which url(#id) leads
# What pybadges writes of the widths, in pixels: of all, of the left half, and where the right half is.
_WHOLE = r'<svg [^>]*?width="([\d.]+)"'
_LEFT = rf'<rect width="([\d.]+)" height="20" fill="{_LABEL_COLOR}"'
_RIGHT = r'<rect x="([\d.]+)" width="([\d.]+)"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """One badge: ``name`` is its file, ``why`` goes to the meta file."""

    name: str
    label: str
    message: str
    state: State
    tests: Cell = NO_TESTS
    why: str = ""


def load_pybadges() -> Callable[..., str]:
    """Return what draws a badge; ConfigError where it cannot be imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources, which pybadges needs, says at every import that it will go
            from pybadges import badge
    except ImportError as error:
        remedy = "pip install 'drm-testing[badges]'"
        raise ConfigError(f"badges need pybadges, which cannot be imported ({error})", remedy=remedy) from error
    draw: Callable[..., str] = badge
    return draw


def write_badge(badge: Badge, report: Report, folder: Path, draw: Callable[..., str]) -> Iterator[Path]:
    """Write the files of one badge; yield those that a README can show."""
    for suffix, text in (("svg", _svg(badge, draw)), ("json", _json(_endpoint(badge)))):
        path = folder / f"{badge.name}.{suffix}"
        write_atomic(path, text)
        yield path
    write_atomic(folder / f"{badge.name}.meta.json", _json(_meta(badge, report)))


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"


def _endpoint(badge: Badge) -> dict[str, Any]:
    return {
        "schemaVersion": 1,
        "label": badge.label,
        "message": badge.message,
        "color": COLORS[badge.state],
        "isError": badge.state in (State.ERROR, State.FAILING),
        "cacheSeconds": _CACHE_S,
    }


def _meta(badge: Badge, report: Report) -> dict[str, Any]:
    tests = badge.tests
    return {
        "state": badge.state.value,
        "why": one_line(badge.why, 500),
        "passed": tests.passed,
        "ran": tests.ran,
        "skipped": tests.skipped,
        "not_run": tests.not_run,
        "collected": tests.collected,
        "commit": one_line(report.commit),
        "branch": one_line(report.branch),
        "created_at": one_line(report.created_at, 40),
    }


def _svg(badge: Badge, draw: Callable[..., str]) -> str:
    """Return the picture, with a name for those who do not see it."""
    said = f"{badge.label}: {badge.message}"
    text = draw(
        left_text=badge.label,
        right_text=badge.message,
        left_color=_LABEL_COLOR,
        right_color=COLORS[badge.state],
        whole_title=said,
        id_suffix=f"-{_UNSAFE.sub('-', badge.name)}",
    )
    text = _on_whole_pixels(text)
    return text.replace("<svg ", f'<svg role="img" aria-label={quoteattr(said)} ', 1) + "\n"


def _on_whole_pixels(text: str) -> str:
    """Round the widths of the two halves: an edge between pixels is drawn blurred."""
    whole, left, right = (re.search(pattern, text) for pattern in (_WHOLE, _LEFT, _RIGHT))
    if whole is None or left is None or right is None:  # pybadges draws otherwise than it did
        return text
    parts = round(float(left[1])), round(float(right[2]))
    text = text.replace(right[0], f'<rect x="{parts[0]}" width="{parts[1]}"')
    text = text.replace(left[0], f'<rect width="{parts[0]}" height="20" fill="{_LABEL_COLOR}"')
    return text.replace(f'width="{whole[1]}"', f'width="{sum(parts)}"')
