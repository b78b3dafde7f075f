"""A scripted provider, and the implementations that the contract suite runs over."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from docker_daemon import IMAGE, Daemon, started
from fake_compute import GCP_ZONES, PROJECT, FakeCompute
from fake_compute import IMAGE as VM_IMAGE
from fake_compute import TOKEN as GCP_TOKEN
from fake_kubernetes import IMAGE as POD_IMAGE
from fake_kubernetes import NAMESPACE, FakeKubernetes
from faulty_ec2_client import FaultyEc2

from drm.cloud_provider_manager import LocalProvider
from drm.cloud_provider_manager.extras import load_parts
from drm.cloud_provider_manager.providers.aws import AwsProvider, AwsSettings
from drm.cloud_provider_manager.providers.aws_calls import Ec2
from drm.cloud_provider_manager.providers.docker import DockerProvider
from drm.cloud_provider_manager.providers.gcp import GcpProvider, GcpSettings
from drm.cloud_provider_manager.providers.gcp_calls import Compute
from drm.cloud_provider_manager.providers.kubernetes import KubernetesProvider, KubernetesSettings
from drm.cloud_provider_manager.tags import tags_of
from drm.model.cluster import Instance, InstanceRequest, InstanceState, WorkerType
from drm.model.errors import CapacityError, ConfigError, LostError
from drm.model.resources import Resources, total

ONE = WorkerType(name="one", capacity=Resources(cpu_cores=1, memory_bytes=2**30))
BIG = WorkerType(name="big", capacity=Resources(cpu_cores=3, memory_bytes=2**30))
MACHINE = Resources(cpu_cores=2, memory_bytes=4 * 2**30)
SLEEP = (sys.executable, "-S", "-c", "import time; time.sleep(60)")


@dataclass
class ScriptedProvider:
    """Keeps instances in a dict. ``fail_next`` is raised by the next call; ``die`` ends one unasked."""

    name: str = "scripted"
    capacity: Resources = MACHINE
    fail_next: Exception | None = None
    calls: list[str] = field(default_factory=list)
    _instances: dict[str, tuple[Instance, InstanceRequest]] = field(default_factory=dict)

    def _call(self, what: str) -> None:
        self.calls.append(what)
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error

    def create(self, request: InstanceRequest) -> Instance:
        self._call(f"create {request.worker_id}")
        for instance, earlier in self._instances.values():
            if request.token and earlier.token == request.token:
                return instance
        if request.worker_type not in self.offerings():
            raise ConfigError(f"no type {request.worker_type.name}")
        if not request.worker_type.capacity.fits_in(self.available()):
            raise CapacityError("full: " + ", ".join(request.worker_type.capacity.lacking(self.available())))
        instance = Instance(
            instance_id=f"i-{len(self._instances)}",
            worker_id=request.worker_id,
            worker_type=request.worker_type.name,
            provider=self.name,
            state=InstanceState.RUNNING,
            tags=tuple(tags_of(request).items()),
        )
        self._instances[instance.instance_id] = (instance, request)
        return instance

    def terminate(self, instance_id: str) -> None:
        self._call(f"terminate {instance_id}")
        self.die(instance_id)

    def describe(self, instance_id: str) -> Instance:
        self._call(f"describe {instance_id}")
        return self._find(instance_id)[0]

    def list_instances(self) -> tuple[Instance, ...]:
        self._call("list")
        return tuple(instance for instance, _ in self._instances.values() if instance.state is not InstanceState.GONE)

    def offerings(self) -> tuple[WorkerType, ...]:
        return (ONE, BIG)

    def available(self) -> Resources:
        live = (request for instance, request in self._instances.values() if instance.state is not InstanceState.GONE)
        return self.capacity - total(request.worker_type.capacity for request in live)

    def die(self, instance_id: str) -> None:
        instance, request = self._find(instance_id)
        self._instances[instance_id] = (dataclasses.replace(instance, state=InstanceState.GONE), request)

    def _find(self, instance_id: str) -> tuple[Instance, InstanceRequest]:
        if instance_id not in self._instances:
            raise LostError(f"no instance {instance_id}")
        return self._instances[instance_id]


def make_request(
    worker_id: str = "w1",
    *,
    worker_type: WorkerType = ONE,
    command: tuple[str, ...] = SLEEP,
    token: str = "",
    environment: tuple[tuple[str, str], ...] = (),
    provider: str = "local",
    tags: tuple[tuple[str, str], ...] = (),
) -> InstanceRequest:
    return InstanceRequest(
        worker_id=worker_id,
        worker_type=dataclasses.replace(worker_type, provider=provider) if provider != "local" else worker_type,
        command=command,
        token=token,
        environment=environment,
        tags=tags,
    )


@pytest.fixture
def request_for() -> Callable[..., InstanceRequest]:
    """``make_request``, for the tests of this folder."""
    return make_request


@pytest.fixture
def scripted() -> ScriptedProvider:
    return ScriptedProvider()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalProvider]:
    provider = LocalProvider(MACHINE, (ONE, BIG), log_folder=tmp_path / "logs", grace_s=5.0)
    yield provider
    for instance in provider.list_instances():
        provider.terminate(instance.instance_id)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A docker daemon of our own, with a small image; skipped with the reason where none can be started."""
    pytest.importorskip("docker", reason="docker (of the extra) is not installed")
    with started(tmp_path_factory.mktemp("dockerd")) as daemon:
        yield daemon


@pytest.fixture
def docker_with(daemon: Daemon) -> Iterator[Callable[..., DockerProvider]]:
    """Return a provider of the daemon as another process would make it; at the end nothing of any is left."""
    made: list[DockerProvider] = []

    def make(**options: Any) -> DockerProvider:
        given = {"capacity": MACHINE, "types": (ONE, BIG), "image": IMAGE, "network": "none", "grace_s": 0, **options}
        made.append(DockerProvider(**given, host=daemon.host))
        return made[-1]

    yield make
    for provider in made:
        for instance in provider.list_instances():
            provider.terminate(instance.instance_id)
        provider.close()


@pytest.fixture
def docker_provider(docker_with: Callable[..., DockerProvider]) -> DockerProvider:
    return docker_with()


@pytest.fixture(scope="session")
def ec2_server(aws_environment: pytest.MonkeyPatch) -> Iterator[FaultyEc2]:
    """moto's EC2 over HTTP, behind a wrapper that injects faults: a process of its own."""
    for module in ("boto3", "moto"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    with FaultyEc2.started() as server:
        yield server


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDCANARY", "AWS_SECRET_ACCESS_KEY": "canary-secret-key"}
NOWHERE = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "1"}


@pytest.fixture(scope="session")
def aws_environment() -> Iterator[pytest.MonkeyPatch]:
    """Credentials of ours and nobody else's, wherever these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_") or name.lower() == "http_proxy"]:
            patch.delenv(name)
        for name, value in {**CREDENTIALS, **NOWHERE}.items():
            patch.setenv(name, value)
        yield patch


@pytest.fixture(scope="session")
def ec2_calls(ec2_server: FaultyEc2) -> Ec2:
    return Ec2(provider="aws", region="us-east-1", endpoint_url=ec2_server.url, timeout_s=20.0)


@pytest.fixture
def ec2(ec2_server: FaultyEc2) -> FaultyEc2:
    """The server, empty and without a fault."""
    ec2_server.reset()
    return ec2_server


ZONES = ("us-east-1a", "us-east-1b")
EC2_TYPES = tuple(
    WorkerType(name=name, capacity=like.capacity, provider="aws", zone=zone, market=market, usd_per_hour=price)
    for name, like, price in (("m6i.large", ONE, 0.096), ("m6i.2xlarge", BIG, 0.384))
    for zone in ZONES
    for market in ("spot", "on-demand")
)


@pytest.fixture
def aws_with(ec2: FaultyEc2, ec2_calls: Ec2) -> Callable[..., AwsProvider]:
    """Return a provider with these settings, as another process would make it."""

    def make(**options: Any) -> AwsProvider:
        more = {name: options.pop(name) for name in ("now", "wait", "ec2") if name in options}
        settings = {"region": "us-east-1", "image": ec2.image, "limit": MACHINE, **options}
        return AwsProvider(AwsSettings(**settings), EC2_TYPES, **{"ec2": ec2_calls, "wait": lambda _: None, **more})

    return make


@pytest.fixture
def aws(aws_with: Callable[..., AwsProvider]) -> AwsProvider:
    return aws_with()


def of_provider(name: str) -> tuple[WorkerType, ...]:
    """Return types that cost something and belong to this provider."""
    return tuple(dataclasses.replace(each, provider=name, usd_per_hour=0.1) for each in (ONE, BIG))


@pytest.fixture(scope="session")
def kubernetes_server() -> Iterator[FakeKubernetes]:
    pytest.importorskip("kubernetes", reason="kubernetes (of the extra) is not installed")
    with FakeKubernetes().serving() as server:
        yield server


@pytest.fixture
def cluster(kubernetes_server: FakeKubernetes) -> FakeKubernetes:
    """The fake cluster, empty and without a fault."""
    kubernetes_server.set()
    return kubernetes_server


@pytest.fixture
def kubernetes_with(cluster: FakeKubernetes, tmp_path: Path) -> Callable[..., KubernetesProvider]:
    """Return a provider of the fake cluster with these settings, as another process would make it."""
    config = str(cluster.kubeconfig(tmp_path / "kubeconfig"))

    def make(**options: Any) -> KubernetesProvider:
        more = {name: options.pop(name) for name in ("now", "wait") if name in options}
        given = {"image": POD_IMAGE, "limit": MACHINE, "namespace": NAMESPACE, "kubeconfig": config, **options}
        types = more.pop("types", of_provider("kubernetes"))
        return KubernetesProvider(KubernetesSettings(**given), types, **{"wait": lambda _: None, **more})

    return make


@pytest.fixture
def kubernetes(kubernetes_with: Callable[..., KubernetesProvider]) -> KubernetesProvider:
    return kubernetes_with()


@pytest.fixture
def real_kubernetes() -> Iterator[KubernetesProvider]:
    """A provider of the cluster that DRM_TEST_KUBERNETES names: CONTEXT/NAMESPACE/IMAGE, the image with /bin/sleep."""
    asked = os.environ.get("DRM_TEST_KUBERNETES", "")
    if not asked:
        pytest.skip("no real cluster is asked for: set DRM_TEST_KUBERNETES=CONTEXT/NAMESPACE/IMAGE")
    context, namespace, image = asked.split("/", 2)
    settings = KubernetesSettings(
        image=image, limit=MACHINE, namespace=namespace, context=context, grace_s=0, lease_s=600, schedule_s=60
    )
    provider = KubernetesProvider(settings, of_provider("kubernetes"))
    yield provider
    for instance in provider.list_instances():
        provider.terminate(instance.instance_id)
    provider.close()


GCP_TYPES = tuple(
    WorkerType(name=name, capacity=like.capacity, provider="gcp", zone=zone, market=market, usd_per_hour=0.1)
    for name, like in (("n2-standard-2", ONE), ("n2-standard-8", BIG))
    for zone in GCP_ZONES
    for market in ("spot", "on-demand")
)


@pytest.fixture(scope="session")
def compute_server() -> Iterator[FakeCompute]:
    try:
        load_parts("google.cloud.compute_v1", "services", extra="gcp")
    except ConfigError as error:
        pytest.skip(str(error))
    with FakeCompute().serving() as server:
        yield server


@pytest.fixture(scope="session")
def compute_calls(compute_server: FakeCompute) -> Compute:
    from google.oauth2.credentials import Credentials

    return Compute(
        provider="gcp", project=PROJECT, endpoint=compute_server.url, credentials=Credentials(token=GCP_TOKEN)
    )


@pytest.fixture
def compute(compute_server: FakeCompute) -> FakeCompute:
    """The fake project, empty and without a fault."""
    compute_server.set()
    return compute_server


@pytest.fixture
def gcp_with(compute: FakeCompute, compute_calls: Compute) -> Callable[..., GcpProvider]:
    """Return a provider of the fake project with these settings, as another process would make it."""

    def make(**options: Any) -> GcpProvider:
        more = {name: options.pop(name) for name in ("now", "wait", "compute") if name in options}
        settings = {"project": PROJECT, "image": VM_IMAGE, "limit": MACHINE, **options}
        return GcpProvider(
            GcpSettings(**settings), GCP_TYPES, **{"compute": compute_calls, "wait": lambda _: None, **more}
        )

    return make


@pytest.fixture
def gcp(gcp_with: Callable[..., GcpProvider]) -> GcpProvider:
    return gcp_with()
