"""DRM runs its own unit tests on separate workers; every outcome is what a serial run says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from drm.model.events import AttemptStarted, InstanceReleased, InstanceRequested, ScalingDecided, WorkerReady
from drm.model.plan import ScalingAction
from drm.reporting.ndjson import read_events

ROOT = Path(__file__).resolve().parents[2]
SUITE = "tests/unit"


def run(command: Sequence[str], log: Path) -> int:
    # What the process around us says of itself is not for the inner run; what measures coverage is.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_"))}
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=inherited,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
    return done.returncode


def outcomes(junit: Path) -> dict[str, str]:
    """Return the outcome of each test in a junit file."""
    found = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        assert name not in found, f"{name} is there twice"
        kinds = sorted(child.tag for child in case if child.tag in ("failure", "error", "skipped"))
        found[name] = ",".join(kinds) or "passed"
    return found


def test_outcomes_equal_those_of_a_serial_run(tmp_path: Path, run_folder: Path) -> None:
    common = [SUITE, "-q", "-p", "no:cacheprovider"]
    serial_log, drm_log = tmp_path / "serial.log", tmp_path / "drm.log"
    serial_code = run(["pytest", *common, f"--junitxml={tmp_path / 'serial.xml'}"], serial_log)
    drm_code = run(
        [
            *("drm", "run", *common, "--drm-no-report", f"--drm-report-dir={run_folder}"),
            *("--drm-workers", "1..2", "--drm-worker-type", "cpu=1", f"--junitxml={tmp_path / 'drm.xml'}"),
        ],
        drm_log,
    )
    assert drm_code == serial_code == 0, serial_log.read_text()[-2000:] + drm_log.read_text()[-2000:]

    serial, distributed = outcomes(tmp_path / "serial.xml"), outcomes(tmp_path / "drm.xml")
    assert len(serial) > 100
    assert distributed == serial

    events = list(read_events(run_folder / "events.ndjson"))
    workers = {event.worker_id for event in events if isinstance(event, WorkerReady)}
    busy = {event.worker_id for event in events if isinstance(event, AttemptStarted)}
    ups = [e.decision for e in events if isinstance(e, ScalingDecided) and e.decision.action is ScalingAction.UP]
    assert busy == workers
    assert len(workers) == 2, "the suite is long enough for a second worker to pay off"
    assert sum(decision.granted - decision.workers for decision in ups) == 2
    requested = [event.worker_id for event in events if isinstance(event, InstanceRequested)]
    assert sorted(requested) == sorted(event.worker_id for event in events if isinstance(event, InstanceReleased))
