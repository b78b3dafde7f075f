"""``drm reap`` after a controller was killed in the middle of a create."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker_daemon import IMAGE, Daemon
from fake_compute import PROJECT, FakeCompute
from fake_compute import TOKEN as GCP_TOKEN
from fake_kubernetes import NAMESPACE, FakeKubernetes
from faulty_ec2_client import FaultyEc2

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.creation import Creator, Ownership
from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.owner import is_alive, this_process
from drm.cloud_provider_manager.providers.aws import AwsProvider
from drm.cloud_provider_manager.providers.docker import DockerProvider
from drm.cloud_provider_manager.providers.gcp import GcpProvider
from drm.cloud_provider_manager.providers.kubernetes import KubernetesProvider
from drm.model.cluster import InstanceRequest
from drm.model.resources import Resources
from drm.reap_command import main
from drm.session import SystemClock

Request = Callable[..., InstanceRequest]

# A controller that is killed at once when the daemon has made its second container, and before it hears of it.
CONTROLLER = """
import os, signal, sys, time
from datetime import UTC, datetime
from pathlib import Path
from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.creation import Creator, Ownership
from drm.cloud_provider_manager.journal import Journal
from drm.cloud_provider_manager.owner import this_process
from drm.cloud_provider_manager.providers.docker import DockerProvider
from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.resources import Resources

class Clock:
    now = staticmethod(time.monotonic)
    utc = staticmethod(lambda: datetime.now(UTC))

host, image, history = sys.argv[1:]
one = WorkerType(name="one", capacity=Resources(cpu_cores=1, memory_bytes=2**28), provider="docker")
provider = DockerProvider(Resources(cpu_cores=4, memory_bytes=2**31), (one,), image=image, host=host, network="none")
own = Ownership(run_id="killed", owner=this_process())
creator = Creator(clock=Clock(), ownership=own, journal=Journal(Path(history)))
manager = CloudProviderManager(clock=Clock(), creator=creator)
manager.add_provider(provider)
ask = lambda worker: InstanceRequest(
    worker_id=worker, worker_type=one, token=f"killed/{worker}",
    command=("/bin/sh", "-c", "trap exit TERM; sleep 600 & wait"),
)
manager.create_worker(ask("w1"))
begun = provider._begun
def killed(*given):
    begun(*given)
    os.kill(os.getpid(), signal.SIGKILL)
provider._begun = killed
manager.create_worker(ask("w2"))
"""


@pytest.mark.drm(group="dockerd")
def test_what_a_killed_controller_left_is_shown_then_ended(
    daemon: Daemon, docker_with: Any, request_for: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "history.db"
    command = [sys.executable, "-c", CONTROLLER, daemon.host, IMAGE, str(history)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    provider: DockerProvider = docker_with(capacity=Resources(cpu_cores=8, memory_bytes=2**40))
    mine = provider.create(
        request_for("w9", command=("/bin/sleep", "600"), tags=(("drm-owner", this_process()), ("drm-run", "here")))
    )
    journal = Journal(history)
    assert [(each.worker_id, bool(each.instance_id)) for each in journal.open_entries()] == [
        ("w1", True),
        ("w2", False),
    ]

    look = ["--docker", daemon.host, "--history", str(history)]
    assert main([*look, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("would end  docker ") == 2
    assert "(w2 of run killed): its controller is gone" in shown
    assert "(w9 of run here): its run goes on" in shown
    assert shown.endswith("3 looked at: 2 would be ended, 1 kept\n")
    assert len(provider.list_instances()) == 3

    assert main(look) == 0
    assert capsys.readouterr().out.endswith("3 looked at: 2 ended, 1 kept\n")
    assert [each.instance_id for each in provider.list_instances()] == [mine.instance_id]
    assert journal.open_entries() == ()
    journal.close()


@pytest.mark.drm(group="ec2")
def test_an_untagged_instance_and_one_in_its_lease_are_kept(
    ec2: FaultyEc2, aws: AwsProvider, request_for: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ec2.make_untagged()
    for worker_id, owner, expires in (("w1", "elsewhere", "4000000000"), ("w2", "elsewhere", "1000000000")):
        tags = (("drm-owner", owner), ("drm-expires", expires))
        aws.create(request_for(worker_id, worker_type=aws.offerings()[0], tags=tags))
    place = ["--aws", "us-east-1", "--aws-endpoint", ec2.url]
    look = [*place, "--history", str(tmp_path / "none.db"), "--boot-grace", "0"]
    assert main(look) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("2 looked at: 1 ended, 1 kept\n")
    assert [each.worker_id for each in aws.list_instances()] == ["w1"]
    assert other in ec2.live()


@pytest.mark.drm(group="kubernetes")
def test_pods_of_a_controller_that_is_gone_are_ended(
    cluster: FakeKubernetes,
    kubernetes: KubernetesProvider,
    request_for: Request,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = kubernetes.offerings()[0]
    for worker, owner in (("w1", this_process().rpartition(".")[0] + ".1"), ("w2", this_process())):
        kubernetes.create(request_for(worker, worker_type=kind, token=worker, tags=(("drm-owner", owner),)))
    # The library reads KUBECONFIG when it is imported.
    place = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(place, str(cluster.kubeconfig(tmp_path / "config")))
    look = ["--kubernetes", f"fake/{NAMESPACE}", "--history", str(tmp_path / "none.db")]
    assert main([*look, "--dry-run"]) == 0
    assert "(w1 of run unknown): its controller is gone" in capsys.readouterr().out
    assert main(look) == 0
    assert capsys.readouterr().out.endswith("2 looked at: 1 ended, 1 kept\n")
    assert [pod["metadata"]["annotations"]["drm-worker"] for pod in cluster.pods.values()] == ["w2"]


@pytest.mark.drm(group="gcp")
def test_instances_past_their_lease_are_deleted(
    compute: FakeCompute,
    gcp: GcpProvider,
    request_for: Request,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from google.oauth2.credentials import Credentials

    for worker, expires in (("w1", "4000000000"), ("w2", "1000000000")):
        tags = (("drm-owner", "elsewhere"), ("drm-expires", expires))
        gcp.create(request_for(worker, worker_type=gcp.offerings()[0], tags=tags))
    monkeypatch.setattr("google.auth.default", lambda *_, **__: (Credentials(token=GCP_TOKEN), PROJECT))
    monkeypatch.setattr("time.sleep", lambda _: None)
    place = ["--gcp", PROJECT, "--gcp-endpoint", compute.url]
    assert main([*place, "--history", str(tmp_path / "none.db"), "--boot-grace", "0"]) == 0
    assert capsys.readouterr().out.endswith("2 looked at: 1 ended, 1 kept\n")
    assert [each.worker_id for each in gcp.list_instances()] == ["w1"]


@pytest.mark.drm(group="dockerd")
def test_the_next_start_ends_what_a_killed_controller_left(daemon: Daemon, docker_with: Any, tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    command = [sys.executable, "-c", CONTROLLER, daemon.host, IMAGE, str(history)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    provider: DockerProvider = docker_with()
    assert len(provider.list_instances()) == 2
    journal = Journal(history)
    own = Ownership(run_id="next", owner=this_process())
    manager = CloudProviderManager(
        clock=SystemClock(), creator=Creator(clock=SystemClock(), ownership=own, journal=journal)
    )
    manager.add_provider(provider)
    done = manager.reconcile(alive=is_alive, wait=lambda _: None)
    assert [each.outcome for each in done.findings] == ["ended", "ended"]
    assert provider.list_instances() == ()
    assert journal.open_entries() == ()
    journal.close()


def test_bad_usage_is_one_line_and_4(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 4
    assert "--docker, --kubernetes, --aws REGION, --gcp PROJECT" in capsys.readouterr().err
    pytest.importorskip("docker")
    assert main(["--docker", "unix:///nonexistent/docker.sock"]) == 4
    assert "is dockerd running" in capsys.readouterr().err
    pytest.importorskip("boto3")
    assert main(["--aws", "moon-1"]) == 4
    assert "'moon-1' is not known" in capsys.readouterr().err
