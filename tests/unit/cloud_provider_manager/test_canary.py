"""A canary: credentials and a join token that must be nowhere in what a run says, records, logs and reports.

A real pool with a real provider, whose server repeats the secrets in each refusal and answers with garbage that holds
them; then the record of that run goes through every report.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_compute import FakeCompute
from fake_kubernetes import FakeKubernetes
from faulty_ec2_client import FaultyEc2

from drm.cli import main as drm
from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.budget import Budget
from drm.cloud_provider_manager.creation import Creator, Ownership
from drm.cloud_provider_manager.journal import Journal
from drm.coordinator.pool import WorkerPool
from drm.coordinator.recorder import Recorder
from drm.coordinator.settings import RunSettings
from drm.dynamic_resource_manager import DynamicResourceManager, ScalingSettings
from drm.model import events
from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.errors import DrmError
from drm.model.resources import Requirements, Resources
from drm.model.work import Task
from drm.ports import CloudProvider
from drm.reporting.ndjson import NdjsonSink
from drm.resource_optimizer import ResourceOptimizer
from drm.resource_performance_predictor import ResourcePerformancePredictor

CANARY = "canary"
JOIN = ("DRM_JOIN_TOKEN", "canary-join-token")
FORMATS = "json,md,html,junit,ctrf,trace,openmetrics"


@dataclasses.dataclass
class Cloud:
    """A provider, and what makes its server misbehave: each fault lasts until ``set`` is called again."""

    provider: CloudProvider
    faults: tuple[Callable[[], None], ...]
    heal: Callable[[], None]
    vanish: Callable[[str], None]


def of_aws(request: pytest.FixtureRequest) -> Cloud:
    ec2: FaultyEc2 = request.getfixturevalue("ec2")
    said = "not for AKIDCANARY with canary-secret-key"
    codes = ("InsufficientInstanceCapacity", "UnauthorizedOperation", "RequestLimitExceeded", "InvalidParameterValue")
    faults = [
        lambda code=code: ec2.set(refuse={"code": code, "status": "400 Bad Request", "message": said, "times": 99})
        for code in codes
    ]
    garbage = lambda: ec2.set(garbage=99)  # noqa: E731
    return Cloud(request.getfixturevalue("aws"), (*faults, garbage), ec2.set, ec2.end)


def of_gcp(request: pytest.FixtureRequest) -> Cloud:
    compute: FakeCompute = request.getfixturevalue("compute")
    from fake_compute import TOKEN

    faults = (
        lambda: compute.set(refuse=(403, "forbidden", f"no {TOKEN}")),
        lambda: compute.set(refuse=(400, "invalid", f"no {TOKEN}")),
        lambda: compute.set(fail=("ZONE_RESOURCE_POOL_EXHAUSTED", f"no {TOKEN}")),
        lambda: compute.set(garbage=99),
    )
    return Cloud(request.getfixturevalue("gcp"), faults, compute.set, compute.end)


def of_kubernetes(request: pytest.FixtureRequest) -> Cloud:
    cluster: FakeKubernetes = request.getfixturevalue("cluster")
    from fake_kubernetes import TOKEN

    faults = (
        lambda: cluster.set(refuse=(403, "Forbidden", f"exceeded quota {TOKEN}")),
        lambda: cluster.set(refuse=(401, "Unauthorized", f"no {TOKEN}")),
        lambda: cluster.set(refuse=(500, "InternalError", f"no {TOKEN}")),
        lambda: cluster.set(garbage=99),
    )
    return Cloud(request.getfixturevalue("kubernetes"), faults, cluster.set, lambda name: cluster.end(name))


class Joins:
    """What a pool asks of an engine."""

    def join_command(self, worker_id: str, worker_type: WorkerType) -> tuple[tuple[str, ...], Mapping[str, str]]:
        return (sys.executable, "-c", "import time; time.sleep(60)"), {}

    def release(self, worker_id: str) -> None: ...


def with_token(request: InstanceRequest) -> InstanceRequest:
    return dataclasses.replace(request, environment=(*request.environment, JOIN))


@pytest.fixture(
    params=[
        pytest.param(of_aws, marks=pytest.mark.drm(group="ec2"), id="aws"),
        pytest.param(of_gcp, marks=pytest.mark.drm(group="gcp"), id="gcp"),
        pytest.param(of_kubernetes, marks=pytest.mark.drm(group="kubernetes"), id="kubernetes"),
    ]
)
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    cloud: Cloud = request.param(request)
    yield cloud
    cloud.heal()


def test_no_secret_is_in_what_a_run_says_records_logs_and_reports(
    cloud: Cloud, clock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    said: list[str] = []
    record, history = tmp_path / "events.ndjson", tmp_path / "history.db"
    recorder = Recorder(clock, [NdjsonSink(record)], said.append)
    journal = Journal(history)
    creator = Creator(
        clock=clock,
        ownership=Ownership(run_id="r", owner="me", lease_s=60.0),
        journal=journal,
        budget=Budget(usd=100.0),
        wait=clock.advance,
    )
    providers = CloudProviderManager(clock=clock, creator=creator, prepare=with_token)
    met = noted(cloud.provider)
    providers.add_provider(cloud.provider)
    one = min(cloud.provider.offerings(), key=lambda each: each.capacity.cpu_cores)
    pool = WorkerPool(
        settings=RunSettings(run_id="r", executors=(1, 1), workers=(0, 9), worker_types=(one,), start_s=1e9),
        clock=clock,
        engine=Joins(),  # type: ignore[arg-type]
        manager=DynamicResourceManager(ScalingSettings(target_queue_s=0.1)),
        optimizer=ResourceOptimizer(ResourcePerformancePredictor()),
        providers=providers,
        recorder=recorder,
    )
    _start(recorder)
    tasks = [
        Task(task_id=f"m.py::t{n}", scope="m.py", position=n, requirements=Requirements(amounts=Resources(cpu_cores=1)))
        for n in range(20)
    ]
    recorder.record(events.TestsDiscovered, task_ids=tuple(task.task_id for task in tasks))
    for fault in cloud.faults:
        fault()
        before = len(met)
        for _ in range(40):
            clock.advance(30.0)
            evaluate(pool, tasks, said)
            if len(met) > before:
                break
        assert len(met) > before, "the fault was not met"
    cloud.heal()
    for _ in range(40):
        clock.advance(30.0)
        evaluate(pool, tasks, said)
        if providers.instances():
            break
    made = providers.instances()[0]
    cloud.vanish(made.instance_id)
    clock.advance(30.0)
    evaluate(pool, tasks, said)
    for act in (pool.close, providers.terminate_all):
        try:
            act()
        except DrmError as error:
            said.append(str(error))
    recorder.record(events.RunFinished, collected=len(tasks), counts=(("not run", len(tasks)),), wall_s=1.0)
    recorder.close()
    journal.close()
    assert drm(["report", str(record), "--format", FORMATS, "--output-dir", str(tmp_path / "out")]) in (0, 1)
    printed = capsys.readouterr()
    written = {path.name: path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()}
    kept = {name: text for name, text in written.items() if name not in ("kubeconfig",)}  # it is the user's own
    assert len(kept) >= len(FORMATS.split(","))
    for name, text in {**kept, "said": "\n".join(said), "log": caplog.text, "printed": str(printed)}.items():
        assert CANARY not in text.lower(), f"a secret is in {name}"


def noted(provider: CloudProvider) -> list[DrmError]:
    """Return a list to which the provider's refusals are added."""
    met: list[DrmError] = []
    create = provider.create

    def creates(request: InstanceRequest) -> Any:
        try:
            return create(request)
        except DrmError as error:
            met.append(error)
            raise

    provider.create = creates  # type: ignore[method-assign]
    return met


def evaluate(pool: WorkerPool, tasks: list[Task], said: list[str]) -> None:
    """Let the pool decide about tests that wait, while none runs; what breaks the run off is said to the person."""
    given = (lambda: tasks, dict)
    try:
        pool.evaluate(*given[: len(inspect.signature(pool.evaluate).parameters)])
    except DrmError as error:
        said.append(str(error))


def _start(recorder: Recorder) -> None:
    words = dict.fromkeys(("rootdir", "drm_version", "python", "platform", "machine"), "x")
    recorder.record(
        events.RunStarted,
        run_id="r",
        format_version=events.FORMAT_VERSION,
        command=("drm",),
        cpu_cores=1.0,
        memory_bytes=1,
        **words,
    )
