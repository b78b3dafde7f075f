"""A project is carried over Ray to several machines at once: how much of it the controller holds, and for whom."""

from __future__ import annotations

import base64
import queue
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drm.bundle import BundleCache, Manifest
from drm.bundle.manifest import digest_of
from drm.engines.carrying import Carrier
from drm.engines.ray_engine.engine import RayEngine
from drm.engines.ray_engine.state import CoordinatorState
from drm.model.observations import WorkerLeft
from drm.model.wire import encode_frame
from drm.worker.channel import Channel
from drm.worker.project import Arrival
from drm.worker.suite import Suite

MIB = 2**20


class Held:
    """Bytes that were given to links and that no machine has read yet."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.now += count
            self.most = max(self.most, self.now)


class Machine:
    """A link as the engine sees it, and behind it what a worker process does with the project, in a thread."""

    def __init__(self, engine: RayEngine, worker_id: str, held: Held, cache: Path) -> None:
        self.worker_id, self.held = worker_id, held
        self.is_closed = False
        self.error = ""
        self.message: list[Any] | None = None
        self._engine = engine
        self._frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        ours, theirs = socket.socketpair()
        self._ours, self._channel = ours, Channel(theirs)
        self._environment = {"DRM_OWN_PROJECT": "1", "DRM_BUNDLE_CACHE": str(cache)}
        self.threads = [threading.Thread(target=each, daemon=True) for each in (self._bring, self._fetch, self._work)]
        engine._roster.said.put(("opened", worker_id, (self, {})))
        for thread in self.threads:
            thread.start()

    # -- the engine's side

    def send(self, message: list[Any]) -> None:
        frame = encode_frame(message)
        self.held.add(len(frame))
        self._frames.put(frame)

    def finish(self) -> None:
        self._engine._roster.said.put(("left", self.worker_id, "it was told to"))
        self._engine.wake()

    def close(self) -> None:
        self.is_closed = True
        self._frames.put(b"")

    # -- between

    def _bring(self) -> None:
        with suppress(OSError):
            while frame := self._frames.get():
                self._ours.sendall(frame)
                self.held.add(-len(frame))

    def _fetch(self) -> None:
        with suppress(OSError):
            while data := self._ours.recv(65536):
                self._engine._roster.said.put(("bytes", self.worker_id, (self, data)))
                self._engine.wake()

    # -- the machine's side

    def _work(self) -> None:
        try:
            self._channel.send(["hello", self.worker_id])
            offer = self._channel.next()
            assert offer is not None
            arrival = Arrival(offer[1], self.worker_id, self._environment)
            self.message = arrival.settle(self._channel)
            arrival.close()
        except Exception as error:
            self.error = str(error)
        self._channel.send(["left", "it has what it wanted"])


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayEngine]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = tmp_path / "project"
    root.mkdir()
    state = CoordinatorState(tmp_path, {"host": "127.0.0.1", "port": 7410})
    suite = Suite(args=(), cwd=str(root), sys_path=(), run_id="r", executor_count=1, basetemp=str(tmp_path))
    made = RayEngine(suite=suite, state=state, say=print, carrier=Carrier(root, {}, print))
    yield made
    made.close()


class Sieve(BundleCache):
    """Keeps nothing: these tests are of the other side."""

    def put(self, pieces: Iterable[tuple[str, bytes]]) -> None:
        for name, content in pieces:
            assert digest_of(content) == name

    def unpack(self, manifest: Manifest, into: Path) -> Path:
        return into


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that the controller has read of the project."""
    done: list[int] = [0]

    def digest(content: bytes) -> str:
        done[0] += len(content)
        return digest_of(content)

    monkeypatch.setattr("drm.bundle.packing.digest_of", digest)
    return done


def serve(engine: RayEngine, machines: list[Machine], read: list[int]) -> int:
    """Let the engine do its part until every machine has gone; return the most bytes that it read between two looks at
    what else there is to do."""
    most = 0
    deadline = time.monotonic() + 120
    while not all(machine.is_closed for machine in machines):
        assert time.monotonic() < deadline, [machine.error for machine in machines]
        before = read[0]
        engine.poll(30)
        most = max(most, read[0] - before)
    return most


def write_large(path: Path, size_mib: int) -> None:
    """Write a file that takes hardly any disk, no two pieces of which are the same."""
    with path.open("wb") as file:
        for at in range(0, size_mib, 4):
            file.seek(at * MIB)
            file.write(at.to_bytes(8, "big"))
        file.truncate(size_mib * MIB)


@pytest.mark.parametrize(("size_mib", "count"), [(64, 1), (16, 4)])
def test_of_a_large_project_a_few_mib_are_held_for_each_machine(
    engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[int], size_mib: int, count: int
) -> None:
    monkeypatch.setattr("drm.worker.project.BundleCache", Sieve)
    write_large(tmp_path / "project" / "data", size_mib)
    held = Held()
    machines = [Machine(engine, f"w{number}", held, tmp_path / "cache") for number in range(count)]
    most_read = serve(engine, machines, read)
    assert [machine.error for machine in machines] == [""] * count
    assert [machine.message and machine.message[0] for machine in machines] == ["suite"] * count
    for machine in machines:
        machine.threads[0].join(10)
    assert held.now == 0
    assert held.most < count * 6 * MIB, "a piece of 4 MiB, in base64"
    assert most_read <= 4 * MIB, "nothing else was done for long"
    assert read[0] == (1 + count) * size_mib * MIB, "each piece is read once, and once more for each machine"


class Deaf:
    """A link to a machine that reads nothing."""

    def __init__(self) -> None:
        self.sent: list[list[Any]] = []
        self.is_closed = False

    def send(self, message: list[Any]) -> None:
        self.sent.append(message)

    def close(self) -> None:
        self.is_closed = True


def test_nothing_is_left_of_a_machine_that_dies_meanwhile(engine: RayEngine, tmp_path: Path) -> None:
    (tmp_path / "project" / "a").write_bytes(b"content")
    carrier = engine._carrier
    assert carrier is not None
    for waits in (True, False):
        link = Deaf()
        said = engine._roster.said
        said.put(("opened", "w", (link, {})))
        said.put(("bytes", "w", (link, encode_frame(["hello", "w"]))))
        engine.poll(0)
        receipt = link.sent[0][1]["receipt"]
        said.put(("bytes", "w", (link, encode_frame(["project", "elsewhere", receipt]))))
        if waits:
            said.put(("left", "w", "it died"))
        while not waits and len(link.sent) < 2:
            engine.poll(0)
        said.put(("left", "w", "it died"))
        assert WorkerLeft(worker_id="w", reason="it died") in engine.poll(0)
        assert link.is_closed
        assert not carrier.is_asked
        assert not carrier._receipts


# -- the carrier alone, in any order

PIECE, PARCEL, AT_ONCE, WORKERS = 3, 12, 3, 3
FILES = {"a": b"0123456789", "b": b"0120123", "c": b"", "d/e": b"x", "d/f": bytes(range(20))}


class Asker:
    """A worker that asks for what it lacks in an order of its own."""

    def __init__(self, carrier: Carrier, worker_id: str, order: random.Random, turns: list[str]) -> None:
        self.worker_id, self.inbox, self.is_done = worker_id, list[list[Any]](), False
        self.had: dict[str, bytes] = {}
        self._carrier, self._order, self._turns = carrier, order, turns
        self._say("elsewhere", carrier.offer(worker_id)[1]["receipt"])

    def _say(self, *words: Any) -> None:
        assert self._carrier.asked(self.worker_id, words) == (words == ("ready",))
        if words != ("ready",):
            self._turns.append(self.worker_id)

    def act(self) -> None:
        """Read what it was sent, and go on."""
        assert len(self.inbox) <= 1, "no more is on its way"
        if not self.inbox:
            return
        kind, what, receipt = self.inbox.pop()
        if kind == "manifest":
            self._pieces = Manifest.from_json(what).pieces()
        else:
            had = {name: base64.b64decode(data) for name, data in what}
            assert 0 < len(had) <= AT_ONCE
            assert sum(map(len, had.values())) <= PARCEL
            assert not had.keys() & self.had.keys()
            assert had.keys() <= self._wanted
            self.had |= had
        lacking = [piece for piece in self._pieces if piece not in self.had]
        if lacking:
            self._wanted = set(self._order.sample(lacking, min(AT_ONCE + 2, len(lacking))))
            self._say("want", receipt, sorted(self._wanted))
        else:
            self._say("ready")
            self.is_done = True


@pytest.fixture(scope="module")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    for name, content in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    return root


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from(("give", "act", "die")).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, 2)))),
    order=st.randoms(use_true_random=False),
)
def test_in_whatever_order_workers_ask_come_and_go_each_gets_all_of_it(
    small_root: Path, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int]], order: random.Random
) -> None:
    for name, value in (("PIECE_BYTES", PIECE), ("PARCEL_BYTES", PARCEL), ("_NAME_BYTES", 0), ("_FILE_BYTES", 1)):
        monkeypatch.setattr(f"drm.bundle.packing.{name}", value)
    for name, value in (("PARCEL_BYTES", PARCEL), ("AT_ONCE", AT_ONCE)):
        monkeypatch.setattr(f"drm.engines.carrying.{name}", value)
    monkeypatch.setattr("drm.bundle.packing.project_files", lambda root, exclude: sorted(FILES))
    carrier = Carrier(small_root, {}, lambda line: None)
    turns: list[str] = []  # who waits
    askers = [Asker(carrier, f"w{number}", order, turns) for number in range(WORKERS)]

    def step(what: str, number: int) -> None:
        if what == "act":
            askers[number].act()
        elif what == "die":
            carrier.forget(f"w{number}")
            turns[:] = [each for each in turns if each != f"w{number}"]
            askers[number] = Asker(carrier, f"w{number}", order, turns)
        elif (given := carrier.given()) is not None:
            assert given[0] == turns.pop(0)
            askers[int(given[0][1:])].inbox.append(given[1])

    for what, number in steps:
        step(what, number)
    for _ in range(100):
        for number in range(WORKERS):
            step("give", number)
            step("act", number)
    assert all(asker.is_done for asker in askers)
    assert not carrier.is_asked
    pieces = {content[at : at + PIECE] for content in FILES.values() for at in range(0, len(content), PIECE)}
    for asker in askers:
        assert asker.had == {digest_of(piece): piece for piece in pieces}
    carrier.close()
