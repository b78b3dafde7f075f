"""What a run was asked to leave out: a pipeline says it in the environment, the reports keep it as a record.

Without a record nobody could tell it from a job that never came to its end, and that is no success.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from drm.model.stages import COMPONENTS, STAGES
from drm.reporting.files import write_atomic
from drm.reporting.report import LEFT_OUT, Report, StageReport

__all__ = ["left_out", "record_left_out"]

_ALL = "all"
_REASON = "left out, as it was asked for"
_SAFE = re.compile(r"[A-Za-z0-9_]{1,61}")  # names come from records, and become folders'


def left_out(report: Report, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the stage and the component ("" for all of it) of what was asked to be left out and left no record.

    ``DRM_RUN_<STAGE>=false`` leaves out a stage that is optional, and no other. ``DRM_COMPONENT=NAME`` leaves the other
    components out of a stage that is split over them and has run in part; one that left nothing at all is missing.
    """
    found = {stage.name: stage for stage in report.stages}
    wanted = environ.get("DRM_COMPONENT", "")
    for stage in STAGES:
        asked = environ.get(f"DRM_RUN_{stage.name.upper()}", "").lower()
        if stage.optional and asked == "false" and not found[stage.name].runs:
            yield stage.name, ""
        if stage.by_component and wanted not in ("", _ALL):
            for name in _others(found[stage.name], wanted):
                yield stage.name, name


def _others(stage: StageReport, wanted: str) -> Iterator[str]:
    """Yield the components but the wanted one that none of the stage's runs covers."""
    told = [run.status for run in stage.runs]
    if not told or any(status is None or not status.components for status in told):
        return  # nothing has run, or all of it
    covered = {name for status in told if status is not None for name in status.components}
    own = next((status.of_components for status in told if status and status.of_components is not None), None)
    for name in own if own is not None else [component.slug for component in COMPONENTS]:
        if name not in covered and name != wanted and _SAFE.fullmatch(name):
            yield name


def record_left_out(report: Report, root: Path, environ: Mapping[str, str]) -> list[str]:
    """Write the status.json of what was left out; return the names of the folders. DrmError where it cannot."""
    names = []
    for stage, component in left_out(report, environ):
        names.append(f"{stage}-{component}" if component else stage)
        record = {"schema_version": 1, "stage": stage, "status": LEFT_OUT, "reason": _REASON}
        record |= {"components": [component] if component else []}
        write_atomic(root / names[-1] / "status.json", json.dumps(record, indent=2) + "\n")
    return names
