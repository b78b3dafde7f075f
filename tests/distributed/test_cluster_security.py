"""What a real cluster listens on, whom it answers, what its processes show, and how far the worker folder reaches."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.hosts import Hosts, why_not
from benchmarks.processes import listeners
from benchmarks.ray_cluster import RayCluster, ray_cluster
from drm.cluster_trust import COORDINATOR, WORKER, environment, load_credentials, probe_port
from drm.engines.ray_engine.environment import ray_environment
from drm.engines.ray_engine.node import Ports
from drm.worker.linux import descendants_of

pytestmark = pytest.mark.usefixtures("needs_ray")


def pids_of(cluster: RayCluster) -> list[int]:
    first = [cluster.coordinator.pid, *(process.pid for process in cluster.machines.values())]
    return [*first, *(below for pid in first for below in descendants_of(pid))]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with ray_cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.add("w1")
        made.wait_joined("w1")
        yield made


def test_on_loopback_nothing_is_heard_from_outside(cluster: RayCluster) -> None:
    heard = listeners(pids_of(cluster))
    assert int(cluster.address.rpartition(":")[2]) in {port for _, port in heard}
    assert [place for place in sorted(heard) if not ipaddress.ip_address(place[0]).is_loopback] == []


def test_no_secret_of_a_cluster_is_in_arguments_environment_or_files(cluster: RayCluster) -> None:
    folders = [cluster.folder / role for role in (COORDINATOR, WORKER)]
    secrets = [(folder / "token").read_bytes() for folder in folders]
    secrets += [(folder / "key.pem").read_bytes().splitlines()[1] for folder in folders]
    shown: dict[str, bytes] = {}
    for pid in pids_of(cluster):
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                shown[f"{name} of {pid}"] = Path(f"/proc/{pid}/{name}").read_bytes()
    temps = {word.decode() for text in shown.values() for word in text.split(b"\0") if word.startswith(b"/tmp/drm-")}
    files = [path for temp in temps for path in Path(temp).rglob("*")]
    files += [path for path in cluster.folder.rglob("*") if not any(path.is_relative_to(each) for each in folders)]
    for path in files:
        if path.is_file() and not path.is_symlink():
            shown[str(path)] = path.read_bytes()
    assert any("/logs/" in name for name in shown), "Ray's logs were looked at"
    assert [name for name, text in shown.items() for secret in secrets if secret in text] == []


KNOCKS = """
import json, socket, ssl, sys
from pathlib import Path
from drm.cluster_trust import knock, load_credentials, probe_port

def answer(host, port, tls):
    with socket.create_connection((host, port), 20) as sock:
        try:
            if tls:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.set_alpn_protocols(["h2"])
                sock = context.wrap_socket(sock)
            sock.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            return sock.recv(20).decode("latin-1")
        except (ssl.SSLError, ConnectionError):
            return ""

def let_in(host, port):
    try:
        probe_port(host, port, load_credentials(Path(sys.argv[2])), timeout_s=20)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""

places = json.loads(sys.argv[1])
print(json.dumps([[answer(*place, False), answer(*place, True), let_in(*place)] for place in places]))
"""


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """A coordinator and a machine with networks of their own, and a run that goes on; the third host is a stranger."""
    if why_not():
        pytest.skip(why_not())
    with Hosts(3) as hosts, ray_cluster(tmp_path_factory.mktemp("apart"), hosts) as made:
        made.add("w1", "--cpus", "1", "--memory", "1GiB", host=1)
        made.wait_joined("w1")
        project = made.folder / "project"
        project.mkdir()
        (project / "pytest.ini").write_text("[pytest]\n")
        (project / "test_it.py").write_text(
            f"import time\nfrom pathlib import Path\n\nROOT = Path({str(project)!r})\n\n\ndef test_it():\n"
            "    (ROOT / 'begun').touch()\n    deadline = time.monotonic() + 240\n"
            "    while not (ROOT / 'go').exists():\n"
            "        assert time.monotonic() < deadline\n        time.sleep(0.05)\n"
        )
        words = ("run", "--coordinator", made.address, "--drm-no-report", "-p", "no:cacheprovider", str(project))
        run = made.start("run", hosts[0], *words, f"--rootdir={project}")
        deadline = time.monotonic() + 240
        while not (project / "begun").exists():
            assert time.monotonic() < deadline, made.said("run")
            assert run.poll() is None, made.said("run")
            time.sleep(0.05)
        made.machines["run"] = run
        yield made
        (project / "go").touch()
        assert run.wait(120) == 0, made.said("run")


def test_between_machines_only_the_ports_that_are_told_listen_and_none_answers_a_stranger(apart: RayCluster) -> None:
    assert apart.hosts is not None
    head, worker, stranger = apart.hosts
    of_worker = apart.machines["w1"].pid
    heard = {worker.address: listeners([of_worker, *descendants_of(of_worker)])}
    others = [process.pid for process in (apart.coordinator, apart.machines["run"])]
    heard[head.address] = listeners([*others, *(below for pid in others for below in descendants_of(pid))])
    assert {port - 7410 for _, port in heard[head.address] if port < 7420} == {0, 1, 2, 3, 4}
    # The next block where hosts with the same addresses are there beside these, for the disk is shared.
    assert {port - 7440 for _, port in heard[worker.address] if port < 7450} == {2, 3, 4}, apart.said("w1")
    places = []
    for host, found in heard.items():
        first = 7410 if host == head.address else 7440
        assert all(first <= port < first + Ports.COUNT for _, port in found), "30 in a row"
        assert {address for address, _ in found} == {host, "::"}
        assert {port - first for address, port in found if address == host} <= {1, 4}, "the door, the agent"
        places += sorted((host, port) for _, port in found)
    given = [json.dumps(places), str(apart.folder / WORKER)]
    done = stranger.run([sys.executable, "-c", KNOCKS, *given], env=apart.environment, timeout=240)
    assert done.returncode == 0, done.stderr
    for (host, port), (plain, sealed, let_in) in zip(places, json.loads(done.stdout), strict=True):
        if port in (7414, 7444):  # Ray's agent: HTTP without TLS, which asks for the token
            assert (plain, sealed) == ("HTTP/1.1 401 Unautho", ""), (host, port)
        else:
            assert (plain, sealed) == ("", ""), (host, port)
            assert let_in == "", (host, port)


RUNS_ELSEWHERE = """
import os
import sys
from drm.engines.ray_engine.environment import prepare

prepare({name: value for name, value in os.environ.items() if name.startswith("RAY_")})
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

quiet = {"log_to_driver": False, "configure_logging": False}
ray.init(address=sys.argv[1], namespace="other", _node_ip_address="127.0.0.1", **quiet)
head = next(node["NodeID"] for node in ray.nodes() if node["Labels"].get("drm-role") == "head")

def who():
    return os.getppid()

strategy = NodeAffinitySchedulingStrategy(head, soft=False)
print("ran below", ray.get(ray.remote(who).options(num_cpus=0, scheduling_strategy=strategy).remote(), timeout=120))
"""


def test_who_has_the_worker_folder_can_run_code_on_the_coordinators_host(cluster: RayCluster) -> None:
    given = {**os.environ, **cluster.environment, **ray_environment(environment(cluster.folder / WORKER))}
    command = [sys.executable, "-c", RUNS_ELSEWHERE, cluster.address]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    parent = int(done.stdout.split("ran below ")[1])
    assert parent in descendants_of(cluster.coordinator.pid)


def test_a_certificate_without_the_token_lets_nobody_in_at_rays_own_ports(cluster: RayCluster, tmp_path: Path) -> None:
    folder = shutil.copytree(cluster.folder / WORKER, tmp_path / WORKER)
    (folder / "token").write_text("0" * len((folder / "token").read_text()))
    probe_port(cluster.host, int(cluster.address.rpartition(":")[2]), load_credentials(folder))  # it is let speak
    given = {**os.environ, **cluster.environment, **ray_environment(environment(folder))}
    command = [sys.executable, "-c", RUNS_ELSEWHERE, cluster.address]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode != 0
    assert "ran below" not in done.stdout
    assert "Unauthenticated" in done.stderr
