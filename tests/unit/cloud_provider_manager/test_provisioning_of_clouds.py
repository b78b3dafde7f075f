"""A run's workers from the sections of [drm]: what providers are made of, and that machines can join."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty_ec2_client import FaultyEc2

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.providers.kubernetes import KubernetesProvider
from drm.cloud_provider_manager.warm_up import PYTHON
from drm.cluster_trust import load_credentials, make_trust
from drm.model.cluster import InstanceRequest, WorkerType
from drm.model.errors import ConfigError
from drm.model.resources import Resources
from drm.provisioning import Place, parse_machines, provider_manager
from drm.settings import read_settings

MACHINE = Resources(cpu_cores=8, memory_bytes=64 * 2**30)
AWS = """
[drm]
provider = aws
budget = 5
no_capacity = local
[drm:aws]
region = us-east-1
image = {image}
endpoint = {url}
zones = us-east-1a
types = m6i.large
git = https://example.com/project.git
ref = v1.2
drm = drm-testing[ray] @ git+https://example.com/drm.git
"""
Made = tuple[CloudProviderManager, tuple[WorkerType, ...], list[str]]


@pytest.fixture
def made_of(tmp_path: Path, clock: Any) -> Callable[..., Made]:
    """Return the manager of a run in a project with this pytest.ini, the ways to have workers, and what it said."""

    def make(text: str, place: Place) -> Made:
        (tmp_path / "pytest.ini").write_text(text, encoding="utf-8")
        settings = read_settings(tmp_path)
        machines, types = parse_machines(
            lambda name: (settings.options.get(name), f"{settings.where}: {name}"),
            settings.providers,
            ["cpu=2,memory=8GiB"],
            MACHINE,
            where=settings.where,
        )
        said: list[str] = []
        manager = provider_manager(
            machines,
            types,
            clock=clock,
            run_id="r",
            history=tmp_path / "history.db",
            capacity=MACHINE,
            place=place,
            say=said.append,
        )
        return manager, types, said

    return make


@pytest.mark.drm(group="ec2")
def test_what_a_machine_boots_with_gets_it_its_credentials_and_runs_its_worker(
    tmp_path: Path, ec2: FaultyEc2, made_of: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'drm-testing[cluster]'")
    make_trust(tmp_path / "trust", coordinator=["127.0.0.1"], workers=["10.0.0.0/28"])
    monkeypatch.setenv("DRM_CLUSTER_FOLDER", str(tmp_path / "trust"))
    place = Place(reaches_machines=True, host="127.0.0.1")
    manager, types, _ = made_of(AWS.format(image=ec2.image, url=ec2.url), place)
    show = "import os, pathlib; print('worker', *sorted(p.name for p in pathlib.Path(os.environ['F']).iterdir()))"
    environment = (("F", str(tmp_path / "run" / "worker")), ("PYTHONPATH", "/home/me"))
    command = (sys.executable, "-c", show)
    manager.create_worker(
        InstanceRequest(worker_id="w0", worker_type=types[0], command=command, environment=environment, token="r/w0")
    )
    (call,) = ec2.calls()
    script = base64.b64decode(call["UserData"]).decode()
    assert "git -C /opt/drm/project checkout -q --detach v1.2" in script
    assert "drm_try drm_pip 'drm-testing[ray] @ git+https://example.com/drm.git'" in script
    assert "PYTHONPATH" not in script
    assert f"{PYTHON} -m drm.cluster_trust.enrolment --at 127.0.0.1:" in script
    warm_up, _, rest = script.partition("drm_say 'ready to join'\n")  # that part has a test of its own
    assert warm_up.startswith("#!/bin/bash\nshutdown -P +")
    moved = rest.replace(PYTHON, sys.executable).replace("/run/drm-cluster", str(tmp_path / "run"))
    code = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])}

    def boot() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", moved], env=code, capture_output=True, text=True, timeout=120, check=False)

    first = boot()
    assert first.stdout == "drm: worker w0 has its credentials and joins\nworker ca.pem cert.pem key.pem token\n", (
        first.stderr
    )
    load_credentials(tmp_path / "run" / "worker")
    manager.terminate_worker("w0")
    assert "gives no credentials" in boot().stderr, "its machine has ended"
    manager.terminate_all()
    assert ec2.live() == []


@pytest.mark.drm(group="ec2")
def test_local_workers_stand_in_where_that_is_asked_for(
    tmp_path: Path, ec2: FaultyEc2, made_of: Callable[..., Made]
) -> None:
    ec2.set(no_capacity=[["us-east-1a", "", ""]])
    manager, types, _ = made_of(AWS.format(image=ec2.image, url=ec2.url), Place(reaches_machines=True))
    command = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
    made = manager.create_worker(InstanceRequest(worker_id="w0", worker_type=types[0], command=command, token="r/w0"))
    assert (made.provider, manager.type_of("w0").usd_per_hour) == ("local", 0.0)
    assert len(ec2.calls()) == 2  # spot, and on demand
    manager.terminate_all()


@pytest.mark.drm(group="kubernetes")
def test_tolerations_are_written_as_taints_are(
    cluster: Any, tmp_path: Path, made_of: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    default = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(default, str(cluster.kubeconfig(tmp_path / "kubeconfig")))
    text = "[drm]\nprovider = kubernetes\n[drm:kubernetes]\nimage = x\nnamespace = drm\ntolerations = {}\n"
    manager, _, _ = made_of(text.format("a=b:NoSchedule c"), Place(reaches_machines=True))
    provider = manager._provider("kubernetes")
    assert isinstance(provider, KubernetesProvider)
    assert provider._settings.tolerations == (
        {"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"},
        {"key": "c", "operator": "Exists"},
    )
    with pytest.raises(ConfigError, match="'a:Never' is none; write it like drm=tests:NoSchedule"):
        made_of(text.format("a:Never"), Place(reaches_machines=True))


def test_machines_elsewhere_need_a_coordinator(made_of: Callable[..., Made]) -> None:
    with pytest.raises(ConfigError, match=r"workers of provider aws cannot join.*--drm-coordinator"):
        made_of(AWS.format(image="ami-1", url="http://127.0.0.1:9"), Place())


@pytest.mark.drm(group="ec2")
def test_without_credentials_to_give_out_nothing_is_bought(
    tmp_path: Path, ec2: FaultyEc2, made_of: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRM_CLUSTER_FOLDER", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="is missing; make credentials on the coordinator"):
        made_of(AWS.format(image=ec2.image, url=ec2.url), Place(reaches_machines=True, host="127.0.0.1"))
    assert ec2.calls() == []
