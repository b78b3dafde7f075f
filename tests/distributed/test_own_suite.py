"""DRM runs its own unit and integration tests on a cluster that it scales itself; every outcome is what a serial run
says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.hosts import Host, Hosts, why_not
from benchmarks.on_hosts import VARIABLE
from benchmarks.ray_cluster import RayCluster, ray_cluster
from drm.model.events import AttemptStarted, InstanceReleased, InstanceRequested, ScalingDecided, WorkerReady
from drm.model.plan import ScalingAction
from drm.reporting.ndjson import read_events

ROOT = Path(__file__).resolve().parents[2]
WHOLE = ("tests/unit", "tests/integration")
PART = (
    "tests/unit/resource_optimizer",
    "tests/unit/coordinator",
    "tests/unit/history",
    "tests/integration/test_components_together.py",
    "tests/integration/test_live.py",
    "tests/integration/test_shortcuts.py",
)
MACHINES = 2
PATIENCE_S = 3600.0

pytestmark = pytest.mark.usefixtures("needs_ray")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RayCluster]:
    """A coordinator, and hosts on which there is no machine yet."""
    hosts = None if why_not() else Hosts(1 + MACHINES)
    folder = tmp_path / "cluster"
    folder.mkdir()
    try:
        with ray_cluster(folder, hosts) as made:
            yield made
        left = [pid for host in hosts or () for pid in host.pids()]
        assert left == [], "a process is left"
    finally:
        if hosts is not None:
            hosts.close()


def inherited(changes: Mapping[str, str]) -> dict[str, str]:
    """What the process around us says of itself is not for the inner run; what measures coverage is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_"))}
    return {**kept, **changes}


def run(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=inherited(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
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


def test_outcomes_equal_those_of_a_serial_run(
    tmp_path: Path, run_folder: Path, cluster: RayCluster, quick: bool
) -> None:
    # What runs whole pipelines installs packages, and hosts have no way out.
    common = [*(PART if quick else WHOLE), "-m", "not ci_templates", "-q", "-p", "no:cacheprovider"]
    serial_log, drm_log = tmp_path / "serial.log", tmp_path / "drm.log"
    serial = [sys.executable, "-m", "pytest", *common, f"--junitxml={tmp_path / 'serial.xml'}"]
    serial_code = run(serial, serial_log, {})
    on_cluster = [
        *(sys.executable, "-m", "benchmarks.on_hosts", "run", "--coordinator", cluster.address, *common),
        *("--drm-no-report", f"--drm-report-dir={run_folder}", f"--junitxml={tmp_path / 'drm.xml'}"),
        *("--drm-workers", f"1..{MACHINES}", "--drm-worker-type", "cpu=2,memory=6GiB"),
    ]
    hosts = cluster.hosts.all if cluster.hosts is not None else (Host("", ""),) * (1 + MACHINES)
    theirs = json.dumps([[host.name, host.address, host.namespace] for host in hosts[1:]])
    drm_code = run(hosts[0].command(on_cluster), drm_log, {**cluster.environment, VARIABLE: theirs})
    assert drm_code == serial_code == 0, serial_log.read_text()[-2000:] + drm_log.read_text()[-2000:]

    expected, distributed = outcomes(tmp_path / "serial.xml"), outcomes(tmp_path / "drm.xml")
    assert len(expected) > 100
    assert distributed == expected

    events = list(read_events(run_folder / "events.ndjson"))
    workers = {event.worker_id for event in events if isinstance(event, WorkerReady)}
    busy = {event.worker_id for event in events if isinstance(event, AttemptStarted)}
    ups = [e.decision for e in events if isinstance(e, ScalingDecided) and e.decision.action is ScalingAction.UP]
    assert busy == workers
    assert len(workers) == MACHINES, "the suite is long enough for a second machine to pay off"
    assert len(ups) > 0
    assert all(decision.granted <= MACHINES for decision in ups)
    requested = [event.worker_id for event in events if isinstance(event, InstanceRequested)]
    assert sorted(requested) == sorted(event.worker_id for event in events if isinstance(event, InstanceReleased))
