"""When a silent machine counts as gone: never before its own lease has ended, soon where its end was seen."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drm.engines.ray_engine.agent import worker_environment
from drm.engines.ray_engine.membership import Leases, NodeState, Sighting, judge, members_of
from drm.engines.ray_engine.node import NodeSettings, Ports

LEASES = Leases()


def state_at(now_s: float, **seen: Any) -> NodeState:
    return judge(Sighting(now_s=now_s, **seen), LEASES)[0]


def test_silence_is_suspect_first_then_the_end() -> None:
    assert state_at(1.0, heard_s=0.0) is NodeState.JOINED
    assert state_at(LEASES.suspect_s + 0.1, heard_s=0.0) is NodeState.SUSPECT
    assert state_at(LEASES.lease_s + 0.5, heard_s=0.0) is NodeState.SUSPECT
    state, why = judge(Sighting(now_s=9.5, heard_s=0.0), LEASES)
    assert (state, why) == (NodeState.LEFT, "it was silent for 10 s")
    seen = Sighting(now_s=9.5, heard_s=0.0, reason="its agent is gone (The actor died unexpectedly)")
    assert judge(seen, LEASES) == (NodeState.LEFT, "it was silent for 10 s"), "which is what is known"


def test_an_end_that_was_seen_is_believed_at_once() -> None:
    assert state_at(5.0, heard_s=4.9, ended_s=4.9) is NodeState.SUSPECT
    seen = Sighting(now_s=5.5, heard_s=4.9, ended_s=4.9, reason="its machine is gone")
    assert judge(seen, LEASES) == (NodeState.LEFT, "its machine is gone")


@given(st.floats(0, 100), st.floats(0, 100))
def test_tests_never_run_elsewhere_while_the_agent_may_still_run_them(heard_s: float, later_s: float) -> None:
    if state_at(heard_s + later_s, heard_s=heard_s) is NodeState.LEFT:
        assert later_s >= LEASES.lease_s


def row(name: str, **more: Any) -> dict[str, Any]:
    labels = {"drm-worker": name} if name else {}
    return {"NodeID": f"id-{name}", "Alive": True, "NodeManagerAddress": "10.0.0.1", "Labels": labels, **more}


def test_machines_are_those_that_joined_as_workers() -> None:
    head = row("coordinator") | {"Labels": {"drm-worker": "coordinator", "drm-role": "head"}}
    dead = row("w2", Alive=False, DeathReasonMessage="raylet has died")
    missed = row("w3", Alive=False, DeathReasonMessage="health check failed due to missing too many heartbeats")
    members = members_of([head, row(""), row("w1"), dead, missed])
    assert [(each.name, each.down, each.is_missed) for each in members] == [
        ("w1", "", False),
        ("w2", "raylet has died", False),
        ("w3", "health check failed due to missing too many heartbeats", True),
    ]


def test_executors_see_nothing_that_ray_added() -> None:
    environment = {"PATH": "/bin", "OMP_NUM_THREADS": "1", "RAY_JOB_ID": "1"}
    assert worker_environment(environment, ["PATH", "HOME"]) == {"PATH": "/bin"}


def test_ports_are_fixed_and_apart() -> None:
    ports = Ports(first=7000)
    options = [*ports.options(head=True)]
    numbers = [int(option.partition("=")[2]) for option in options]
    assert len(set(numbers)) == len(numbers)
    assert ports.door not in numbers
    assert all(7000 <= number < 7000 + Ports.COUNT for number in numbers)
    workers = range(numbers[-2], numbers[-1] + 1)
    assert not set(workers) & {*numbers[:-2], ports.door}, "Ray dies where a worker takes a port of its own"


def test_a_machine_has_no_resources_of_ray(tmp_path: Any) -> None:
    settings = NodeSettings(name="w1", host="10.0.0.2", ports=Ports(first=7000), coordinator="10.0.0.1:7410")
    command = settings.command(tmp_path)
    assert {"--num-cpus=0", "--disable-usage-stats", f"--temp-dir={tmp_path}"} <= set(command)
    assert "stop" not in command
