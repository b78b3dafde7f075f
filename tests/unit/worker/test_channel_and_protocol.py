"""Channels survive a far side that dies or does not read; messages become observations or are refused."""

from __future__ import annotations

import fcntl
import json
import resource
import socket
import threading
from contextlib import closing, suppress
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.model import observations as seen
from drm.model.death import Death, DeathKind
from drm.model.errors import LostError
from drm.model.memory import MemoryLevel, MemorySample
from drm.model.resources import Resources
from drm.model.wire import FrameReader, encode_frame
from drm.model.work import Outcome, Usage
from drm.worker.channel import Channel
from drm.worker.protocol import _WORDS, joined_message, observation, sample_message


@pytest.fixture
def pair() -> Any:
    ours, theirs = socket.socketpair()
    one, other = Channel(ours, send_timeout_s=0.2), Channel(theirs, send_timeout_s=0.2)
    yield one, other
    one.close()
    other.close()


def test_messages_go_both_ways(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    one.send(["a", 1])
    one.send(["b", {"x": None}])
    assert other.next() == ["a", 1]
    assert other.peek() == ["b", {"x": None}]
    assert other.receive() == [["b", {"x": None}]]
    assert other.receive() == []
    other.send(["c"])
    assert one.next() == ["c"]


def test_a_descriptor_may_have_a_large_number() -> None:
    """As in a process in which a suite has more than a thousand files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip("so many descriptors are not allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    try:
        ours, theirs = socket.socketpair()
        far = socket.socket(fileno=fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD, 2500))
        ours.close()
        with closing(Channel(far, send_timeout_s=0.2)) as one, closing(Channel(theirs)) as other:
            other.send(["a"])
            assert one.next() == ["a"]
            with pytest.raises(LostError, match="does not read"):
                one.send(["x" * 10_000_000])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_had_arrived_is_read_after_the_far_side_died(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    one.send(["last words"])
    one.close()
    assert other.next() == ["last words"]
    assert other.next() is None
    assert other.closed
    with pytest.raises(LostError):
        other.send(["x"])


def test_a_far_side_that_does_not_read_is_lost(pair: tuple[Channel, Channel]) -> None:
    with pytest.raises(LostError, match="does not read"):
        pair[0].send(["x" * 20_000_000])


def test_large_messages_pass_while_the_far_side_reads(pair: tuple[Channel, Channel]) -> None:
    message = ["large", "x" * 5_000_000]
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.append(pair[1].next()))
    reader.start()
    pair[0].send(message)
    reader.join(10)
    assert got == [message]


def test_two_sides_that_send_much_at_once_do_not_wait_for_each_other() -> None:
    """The far side reads nothing until it has sent all of its own."""
    ours, theirs = socket.socketpair()
    below, above = Channel(ours), Channel(theirs, send_timeout_s=10)
    message = ["large", "x" * 5_000_000]
    got: list[Any] = []

    def both() -> None:
        above.send(message)
        got.append(above.next())

    threads = [threading.Thread(target=work, daemon=True) for work in (both, lambda: below.send(message))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(8)
    assert got == [message]
    assert below.has_waiting or below.next() == message
    below.close()
    above.close()


def test_a_value_without_a_repr_is_sent_in_other_words() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    (message,) = FrameReader().feed(encode_frame(["x", Hostile()]))
    assert message == ["x", "<RuntimeError in repr of Hostile object>"]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_raise_anything_but_lost(chunks: list[bytes]) -> None:
    reader = FrameReader()
    with suppress(LostError):
        for chunk in chunks:
            reader.feed(chunk)


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=10))
def test_no_message_raises_anything_but_lost(value: Any) -> None:
    (message,) = FrameReader().feed(encode_frame(["x", value]))
    for name in (*_WORDS, "nonsense", 3, None):
        with suppress(LostError):
            found = observation("w", [name, *(message[1] if isinstance(message[1], list) else [message[1]])])
            assert isinstance(found, seen.Observation)


def test_messages_become_observations() -> None:
    capacity = Resources(cpu_cores=1.5, memory_bytes=10, gpus=1)
    joined = [*joined_message(capacity, frozenset({"b", "a"}), "kind", 7), 5, 80]
    assert observation("w", joined) == seen.WorkerJoined(
        worker_id="w",
        capacity=capacity,
        labels=frozenset({"a", "b"}),
        worker_type="kind",
        pid=7,
        held_bytes=5,
        gpu_memory_bytes=80,
    )
    used = Resources(cpu_cores=1.5, memory_bytes=7, gpus=0.5)
    assert observation("w", ["sample", 1.5, 7, 0.5, 9]) == seen.WorkerSampled(
        worker_id="w", used=used, gpu_memory_bytes=9
    )
    sample = MemorySample(
        levels=(MemoryLevel(name="the machine", limit_bytes=9, used_bytes=4),),
        pressure=0.25,
        resident_bytes=(("gw0", 3), ("gw1", 1)),
    )
    assert observation("w", sample_message(sample)) == seen.MemorySampled(worker_id="w", sample=sample)
    assert observation("w", ["settled", "gw0", 7]) == seen.ExecutorSettled(
        worker_id="w", executor_id="gw0", base_bytes=7
    )
    assert observation("w", ["end", "gw0", "t", 2, "passed", "", [[0]], [1.0, 0.5, 9]]) == seen.AttemptEnded(
        worker_id="w",
        executor_id="gw0",
        task_id="t",
        attempt=2,
        outcome=Outcome.PASSED,
        message="",
        reports=[[0]],
        usage=Usage(wall_s=1.0, cpu_s=0.5, peak_rss_bytes=9),
    )
    for death in (Death(exit_code=1, peak_rss_bytes=3), Death(killed_for=DeathKind.HUNG, reason="x", signal="SIGKILL")):
        sent = json.loads(json.dumps(asdict(death)))
        assert observation("w", ["exited", "gw0", sent]) == seen.ExecutorExited(
            worker_id="w", executor_id="gw0", death=death
        )
    assert observation("w", ["exited", "gw0", None]) == seen.ExecutorExited(worker_id="w", executor_id="gw0")
    assert observation("w", ["idle", "gw0", ["a"]]) == seen.BatchEnded(
        worker_id="w", executor_id="gw0", returned=("a",)
    )


@pytest.mark.parametrize(
    "message",
    [
        ["joined"],
        ["joined", "x", 1, 1, [], "k", 1, 0, 0],
        ["sample", 1.0, 7],
        ["sample", float("inf"), 7, 0, 0],
        ["sample", 1.0, 10**400, 0, 0],
        ["sample", -1.0, 7, 0, 0],
        ["ready", [], 1],
        ["begin", "gw0", ["t"], 1],
        ["end", "gw0", "t", 1, "passed", "", [], [float("nan"), 1, 1]],
        ["exited", "gw0", {**asdict(Death()), "peak_rss_bytes": "many"}],
        ["memory", [["m", None, 1]], 0.0, []],
        ["memory", [["short"]], 0.0, []],
        ["end", "gw0", "t", 1, "splendid", "", [], [1, 1, 1]],
        ["shutdown"],
    ],
)
def test_what_is_no_message_of_ours_is_refused(message: list[Any]) -> None:
    with pytest.raises(LostError, match="worker w sent a message that is not understood"):
        observation("w", message)


def test_what_the_other_side_said_before_it_went_is_read_after_a_send_that_failed() -> None:
    ours, theirs = socket.socketpair()
    here, there = Channel(ours), Channel(theirs)
    here.send(["pieces", "x" * 1000])  # never read: closing tells of that
    there.send(["left", "the disk is full"])
    there.close()
    with pytest.raises(LostError):
        here.send(["pieces", "x" * 1000])
    assert here.next() == ["left", "the disk is full"]
    assert here.next() is None
