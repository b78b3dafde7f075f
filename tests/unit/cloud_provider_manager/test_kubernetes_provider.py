"""Pods beyond the contract: what is asked of the API, what its refusals mean, how they end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_kubernetes import TOKEN, FakeKubernetes, Node

from drm.cloud_provider_manager.providers.kubernetes import KubernetesProvider, KubernetesSettings
from drm.cloud_provider_manager.providers.kubernetes_errors import MissingError, error_of_status
from drm.cloud_provider_manager.providers.kubernetes_pods import pod_of
from drm.cloud_provider_manager.providers.requests import unique_name
from drm.model.cluster import InstanceRequest, InstanceState, WorkerType
from drm.model.errors import (
    CapacityError,
    ConfigError,
    DrmError,
    DuplicateError,
    LostError,
    QuotaError,
    ThrottledError,
    UnauthorisedError,
    UnknownFateError,
)
from drm.model.resources import Resources

Request = Callable[..., InstanceRequest]
Make = Callable[..., KubernetesProvider]
pytestmark = pytest.mark.drm(group="kubernetes")


def asked_of(provider: KubernetesProvider, request_for: Request, worker: str = "w1", **more: Any) -> InstanceRequest:
    return request_for(worker, **{"worker_type": provider.offerings()[0], "token": f"r/{worker}", **more})


def posts(cluster: FakeKubernetes, kind: str = "pods") -> list[dict[str, Any]]:
    return [call.body for call in cluster.calls if call.method == "POST" and call.path.endswith(kind)]


def test_what_a_pod_is_made_of(kubernetes_with: Make, cluster: FakeKubernetes, request_for: Request) -> None:
    cluster.set(nodes=(Node(labels={"pool": "tests"}, taints=("drm",)),))
    toleration = {"key": "drm", "operator": "Exists", "effect": "NoSchedule"}
    provider = kubernetes_with(
        node_selector={"pool": "tests"}, tolerations=[toleration], lease_s=3600.5, service_account="tests", grace_s=7
    )
    provider.create(asked_of(provider, request_for, environment=(("DRM_X", "a $(B)"),)))
    (pod,) = posts(cluster)
    spec = pod["spec"]
    assert (spec["activeDeadlineSeconds"], spec["restartPolicy"]) == (3601, "Never")
    assert spec["terminationGracePeriodSeconds"] == 7
    assert (spec["nodeSelector"], spec["tolerations"]) == ({"pool": "tests"}, [toleration])
    assert spec["serviceAccountName"] == "tests"
    (container,) = spec["containers"]
    assert (
        container["resources"]["limits"]
        == container["resources"]["requests"]
        == {"cpu": "1000m", "memory": "1073741824"}
    )
    assert container["env"] == [{"name": "DRM_X", "value": "a $$(B)"}]
    assert pod["metadata"]["labels"]["drm-managed"] == "1"
    assert "drm-operation" not in pod["metadata"]["labels"]  # "/" is none of a label's characters
    assert pod["metadata"]["annotations"]["drm-operation"] == "r/w1"


def test_spot_zone_and_gpus_are_asked_for(request_for: Request) -> None:
    kind = WorkerType(name="g", capacity=Resources(cpu_cores=0.5, gpus=1.5), zone="eu-west-1a", market="spot")
    settings = KubernetesSettings(image="i", limit=Resources(), spot_selector={"capacity": "spot"})
    spec = pod_of(request_for("w1", worker_type=kind), settings, "n")["spec"]
    assert spec["nodeSelector"] == {"capacity": "spot", "topology.kubernetes.io/zone": "eu-west-1a"}
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "500m", "nvidia.com/gpu": "2"}


@pytest.mark.parametrize("token", ["r/w1", "R/W1", "x" * 300, "20260101T000000Z-ab12cd34/w1", "-", "ü"])
def test_names_are_dns_labels_and_differ(token: str) -> None:
    name = unique_name(token)
    assert len(name) <= 63
    assert name == name.lower().strip("-")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name == unique_name(token) != unique_name(token + "x")


def test_what_is_secret_by_its_name_is_in_a_secret_that_goes_with_the_pod(
    kubernetes: KubernetesProvider, cluster: FakeKubernetes, request_for: Request
) -> None:
    made = kubernetes.create(asked_of(kubernetes, request_for, environment=(("DRM_JOIN_TOKEN", "canary-join"),)))
    (pod,), (secret,) = posts(cluster), posts(cluster, "secrets")
    assert "canary-join" not in str(pod)
    (variable,) = pod["spec"]["containers"][0]["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": made.instance_id, "key": "DRM_JOIN_TOKEN"}
    assert secret["stringData"] == {"DRM_JOIN_TOKEN": "canary-join"}
    assert list(cluster.secrets) == [made.instance_id]
    kubernetes.terminate(made.instance_id)
    assert cluster.secrets == {}


def test_without_a_node_it_is_a_capacity_error_and_no_pod_is_left(
    kubernetes_with: Make, cluster: FakeKubernetes, request_for: Request, clock: Any
) -> None:
    cluster.set(nodes=(Node(cpu_milli=500), Node(taints=("gpu",))))
    provider = kubernetes_with(now=clock.now, wait=clock.advance, schedule_s=1.0)
    name = unique_name("r/w1")
    provider._changed = lambda *_: [clock.advance(0.6), provider._read(name)][1]  # type: ignore[method-assign]
    with pytest.raises(
        CapacityError, match=r"0/2 nodes are available: 1 Insufficient cpu, 1 node\(s\) had untolerated"
    ):
        provider.create(asked_of(provider, request_for))
    assert cluster.pods == {}
    assert provider.list_instances() == ()
    cluster.nodes = (Node(),)
    assert provider.create(asked_of(provider, request_for)).state is InstanceState.RUNNING  # the token is free again


def test_a_scheduler_that_takes_its_time_is_waited_for(
    kubernetes: KubernetesProvider, cluster: FakeKubernetes, request_for: Request
) -> None:
    cluster.set(schedules_after=2)
    assert kubernetes.create(asked_of(kubernetes, request_for)).state is InstanceState.RUNNING
    assert any(call.query.get("watch") for call in cluster.calls)


@pytest.mark.parametrize(
    ("status", "reason", "message", "kind"),
    [
        (401, "Unauthorized", "Unauthorized", UnauthorisedError),
        (403, "Forbidden", 'pods is forbidden: User "x" cannot create resource', UnauthorisedError),
        (403, "Forbidden", 'pods "x" is forbidden: exceeded quota: compute', QuotaError),
        (404, "NotFound", 'namespaces "drm" not found', ConfigError),
        (409, "Conflict", "Operation cannot be fulfilled on resourcequotas", ThrottledError),
        (422, "Invalid", 'Pod "x" is invalid', ConfigError),
        (429, "TooManyRequests", "Too many requests, please try again later.", ThrottledError),
        (500, "InternalError", "etcdserver: request timed out", UnknownFateError),
        (504, "Timeout", "request did not complete within the allotted timeout", UnknownFateError),
    ],
)
def test_refusals_are_typed_asked_once_and_show_no_secret(
    kubernetes: KubernetesProvider,
    cluster: FakeKubernetes,
    request_for: Request,
    status: int,
    reason: str,
    message: str,
    kind: type[DrmError],
) -> None:
    cluster.set(refuse=(status, reason, f"{message}\n{TOKEN}"))
    with pytest.raises(DrmError) as caught:
        kubernetes.create(asked_of(kubernetes, request_for))
    said = str(caught.value)
    assert type(caught.value) is kind
    assert message in said
    assert "canary" not in said
    assert "\n" not in said
    assert caught.value.__cause__ is None  # nor in a traceback
    assert len(posts(cluster)) == 1


def test_a_quota_of_the_namespace_is_a_quota_error(
    kubernetes: KubernetesProvider, cluster: FakeKubernetes, request_for: Request
) -> None:
    cluster.set(quota_pods=1)
    kubernetes.create(asked_of(kubernetes, request_for))
    with pytest.raises(QuotaError, match=r"exceeded quota: compute.*ResourceQuota"):
        kubernetes.create(asked_of(kubernetes, request_for, "w2"))
    assert len(cluster.pods) == 1


@pytest.mark.parametrize("fault", ["lose_answer", "garbage"])
def test_after_a_lost_answer_the_same_request_finds_the_first_pod(
    kubernetes_with: Make, cluster: FakeKubernetes, request_for: Request, fault: str
) -> None:
    provider = kubernetes_with()
    cluster.set(**{fault: 1})  # type: ignore[arg-type]
    asked = asked_of(provider, request_for, environment=(("JOIN_TOKEN", "x"),))
    with pytest.raises(UnknownFateError) as caught:
        provider.create(asked)
    assert "canary" not in str(caught.value)
    (made,) = kubernetes_with().list_instances()
    assert made.tag("drm-operation") == "r/w1"
    assert provider.create(asked).instance_id == made.instance_id
    assert list(cluster.secrets) == [made.instance_id]
    assert len(cluster.pods) == 1


def test_two_processes_with_one_token_make_one_pod(
    kubernetes_with: Make, cluster: FakeKubernetes, request_for: Request
) -> None:
    """The name is taken between the look and the create: 409 AlreadyExists."""
    first, second = kubernetes_with(), kubernetes_with()
    look = second._read
    hidden = [None]
    second._read = lambda name: hidden.pop() if hidden else look(name)  # type: ignore[method-assign]
    made = first.create(asked_of(first, request_for))
    assert second.create(asked_of(second, request_for)).instance_id == made.instance_id
    assert len(posts(cluster)) == 2
    assert len(cluster.pods) == 1


def test_after_a_lost_request_there_is_nothing(
    kubernetes: KubernetesProvider, cluster: FakeKubernetes, request_for: Request
) -> None:
    cluster.set(lose_request=1)
    with pytest.raises(UnknownFateError):
        kubernetes.create(asked_of(kubernetes, request_for))
    assert cluster.pods == {}


def test_a_pod_is_waited_for_until_its_grace_is_over(
    kubernetes_with: Make, cluster: FakeKubernetes, request_for: Request, clock: Any
) -> None:
    provider = kubernetes_with(now=clock.now, wait=clock.advance)
    made = provider.create(asked_of(provider, request_for))
    cluster.lingers = 6
    provider.terminate(made.instance_id)
    assert cluster.pods == {}
    assert clock.now() >= 2.0
    cluster.set(lingers=10**6)
    stuck = provider.create(asked_of(provider, request_for, "w2"))
    with pytest.raises(DrmError, match="has not ended 120 s after it was told to; look at its node"):
        provider.terminate(stuck.instance_id)
    (seen,) = provider.list_instances()
    assert seen.state is InstanceState.TERMINATING


def test_another_pod_of_the_same_name_is_not_deleted(
    kubernetes: KubernetesProvider, cluster: FakeKubernetes, request_for: Request
) -> None:
    made = kubernetes.create(asked_of(kubernetes, request_for))
    pod = kubernetes._read(made.instance_id)
    assert pod is not None
    cluster.forget(made.instance_id)
    kubernetes._mine.clear()
    kubernetes.create(asked_of(kubernetes, request_for))
    with pytest.raises(ThrottledError, match="UID in the precondition"):
        kubernetes._delete(pod)
    assert len(cluster.pods) == 1


def test_an_eviction_is_noticed_before_it_happens(
    kubernetes: KubernetesProvider, cluster: FakeKubernetes, request_for: Request
) -> None:
    made = kubernetes.create(asked_of(kubernetes, request_for))
    assert kubernetes.describe(made.instance_id).notice == ""
    cluster.evict(made.instance_id, "PreemptionByScheduler")
    (seen,) = kubernetes.list_instances()
    assert (seen.state, seen.notice) == (InstanceState.RUNNING, "eviction: PreemptionByScheduler")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"reason": "Evicted", "message": "The node was low on resource: memory."}, "ended: Evicted: The node was low"),
        ({"reason": "DeadlineExceeded", "message": "Pod was active longer"}, "ended: DeadlineExceeded"),
        ({"terminated": {"reason": "OOMKilled"}}, "ended: it passed its memory limit"),
        ({}, "ended: exit code 137"),
    ],
)
def test_how_it_ended_is_told_and_nothing_is_left(
    kubernetes: KubernetesProvider, cluster: FakeKubernetes, request_for: Request, status: dict[str, Any], words: str
) -> None:
    made = kubernetes.create(asked_of(kubernetes, request_for))
    cluster.end(made.instance_id, **status)
    seen = kubernetes.describe(made.instance_id)
    assert seen.state is InstanceState.GONE
    assert words in seen.detail
    assert cluster.pods == {}
    assert kubernetes.describe(made.instance_id).detail == seen.detail


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_is_not_there_ends_the_instance_with_the_reason(
    kubernetes: KubernetesProvider, cluster: FakeKubernetes, request_for: Request, reason: str
) -> None:
    made = kubernetes.create(asked_of(kubernetes, request_for))
    cluster.wait_for_image(made.instance_id, reason, 'Back-off pulling image "absent:1"')
    seen = kubernetes.describe(made.instance_id)
    assert seen.state is InstanceState.GONE
    assert f'({reason}: Back-off pulling image "absent:1")' in seen.detail
    assert cluster.pods == {}


def test_what_another_process_left_is_listed_until_it_is_ended(
    kubernetes_with: Make, cluster: FakeKubernetes, request_for: Request
) -> None:
    first, other = kubernetes_with(), kubernetes_with()
    made = first.create(asked_of(first, request_for))
    cluster.end(made.instance_id)
    assert [each.state for each in other.list_instances()] == [InstanceState.TERMINATING]
    other.terminate(made.instance_id)
    assert cluster.pods == {}


def test_a_pod_of_somebody_else_is_left_alone(
    kubernetes: KubernetesProvider, cluster: FakeKubernetes, request_for: Request
) -> None:
    made = kubernetes.create(asked_of(kubernetes, request_for))
    kubernetes._mine.clear()
    cluster.pods[made.instance_id]["metadata"]["labels"] = {}
    assert kubernetes.list_instances() == ()
    for method in (kubernetes.describe, kubernetes.terminate):
        with pytest.raises(LostError, match=made.instance_id):
            method(made.instance_id)
    with pytest.raises(ConfigError, match="is none of DRM's"):
        kubernetes.create(asked_of(kubernetes, request_for))
    assert list(cluster.pods) == [made.instance_id]


def test_a_wrong_token_namespace_or_context_is_one_line(
    kubernetes_with: Make, cluster: FakeKubernetes, request_for: Request, tmp_path: Path
) -> None:
    wrong = kubernetes_with(kubeconfig=str(cluster.kubeconfig(tmp_path / "wrong", token="canary-wrong")))
    with pytest.raises(UnauthorisedError, match=r"list instances \(Unauthorized\); check the credentials"):
        wrong.list_instances()
    elsewhere = kubernetes_with(namespace="moon")
    with pytest.raises(LostError, match='namespaces "moon" not found'):
        elsewhere.list_instances()
    with pytest.raises(ConfigError, match=r"has no cluster .*moon.*; set KUBECONFIG"):
        kubernetes_with(context="moon")
    with pytest.raises(ConfigError, match="has no cluster"):
        kubernetes_with(kubeconfig=str(tmp_path / "absent"))


def test_a_server_that_is_not_there_was_not_asked(
    kubernetes_with: Make, cluster: FakeKubernetes, request_for: Request, tmp_path: Path
) -> None:
    config = cluster.kubeconfig(tmp_path / "away")
    config.write_text(config.read_text().replace(cluster.url, "http://127.0.0.1:9"))
    away = kubernetes_with(kubeconfig=str(config))
    with pytest.raises(LostError, match="check the network") as caught:
        away.create(asked_of(away, request_for))
    assert not isinstance(caught.value, MissingError)
    assert "\n" not in str(caught.value)


def test_what_status_means_by_itself() -> None:
    assert type(error_of_status(409, "AlreadyExists", "x", "t", creates=True)) is DuplicateError
    assert type(error_of_status(404, "NotFound", "x", "t")) is MissingError
    assert type(error_of_status(503, "", "x", "t")) is DrmError


def test_a_copy_of_an_instance_keeps_its_notice(kubernetes: KubernetesProvider, request_for: Request) -> None:
    made = kubernetes.create(asked_of(kubernetes, request_for))
    assert dataclasses.replace(made, notice="x").notice == "x"
