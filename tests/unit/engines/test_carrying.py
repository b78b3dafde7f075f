"""A project is carried over one connection: both sides of it, in one process."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from drm.bundle import Bundle, Manifest
from drm.engines.carrying import Carrier, checked
from drm.model.errors import ConfigError, LostError
from drm.worker.channel import Channel
from drm.worker.project import Arrival, cache_folder
from drm.worker.suite import Suite

PACKAGES = {"pytest": pytest.__version__}


class Both:
    """The coordinator's side answers in a thread of its own. ``sent``: the names of its messages."""

    def __init__(self, carrier: Carrier) -> None:
        ours, theirs = socket.socketpair()
        self.worker = Channel(theirs)
        self._channel, self._carrier = Channel(ours), carrier
        self.sent: list[str] = []
        self.left = ""
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _send(self, message: list[Any]) -> None:
        self.sent.append(message[0])
        with suppress(LostError):  # what it said before it went is read next
            self._channel.send(message)

    def _serve(self) -> None:
        try:
            self._send(self._carrier.offer("w1"))
            while (said := self._channel.next()) is not None:
                if said[0] == "left":
                    self.left = said[1]
                    return
                if checked(self._carrier, "w1", said[1:]):
                    self._send(["suite"])
                    return
                self._send(answer(self._carrier))
        except BaseException as error:
            self.failed = error
            self._channel.close()

    def end(self) -> None:
        self.worker.close()
        self._thread.join(30)
        self._carrier.close()


def answer(carrier: Carrier) -> list[Any]:
    """Return what the one that has asked is given, after the project has been read."""
    while (given := carrier.given()) is None:
        assert carrier.is_asked
    assert given[0] == "w1"
    return given[1]


def arrive(both: Both, **environment: str) -> tuple[Arrival, list[Any] | None]:
    offer = both.worker.next()
    assert offer is not None
    arrival = Arrival(offer[1], "w1", environment)
    return arrival, arrival.settle(both.worker)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "p"
    (root / "tests").mkdir(parents=True)
    (root / "tests" / "test_a.py").write_text("def test_a(): pass\n")
    (root / "data").write_bytes(bytes(range(256)) * 40_000)
    return root


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return {"DRM_OWN_PROJECT": "1", "DRM_BUNDLE_CACHE": str(tmp_path / "cache")}


def test_a_worker_that_sees_the_folder_is_sent_nothing(project: Path) -> None:
    both = Both(Carrier(project, PACKAGES, print))
    arrival, message = arrive(both)
    both.end()
    assert message == ["suite"]
    assert both.sent == ["project", "suite"]
    suite = suite_in(project)
    assert arrival.moved(suite) is suite
    assert not list((project / ".drm").iterdir()), "the marker is left"


def test_the_marker_of_a_killed_coordinator_is_removed_by_the_next_and_that_of_a_living_one_is_not(
    project: Path,
) -> None:
    code = (
        "import os, pathlib, signal, sys; from drm.engines.carrying import Carrier; "
        "carrier = Carrier(pathlib.Path(sys.argv[1]), {}, print); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(project)], check=False)
    (left,) = (project / ".drm").iterdir()
    first = Carrier(project, PACKAGES, print)
    assert not left.exists()
    second = Carrier(project, PACKAGES, print)
    assert len(list((project / ".drm").iterdir())) == 2
    both = Both(first)
    assert arrive(both)[1] == ["suite"]
    assert both.sent == ["project", "suite"], "the folder is not seen"
    both.end()
    second.close()
    assert not list((project / ".drm").iterdir())


def suite_in(root: Path) -> Suite:
    return Suite(
        args=(f"--rootdir={root}", "tests"),
        cwd=str(root / "tests"),
        sys_path=(str(root), "/elsewhere"),
        run_id="r",
        executor_count=1,
        basetemp="/tmp/there",
    )


def test_a_worker_that_does_not_gets_it_once_and_leaves_nothing(
    project: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    said: list[str] = []
    for again in range(2):
        both = Both(Carrier(project, PACKAGES, said.append))
        arrival, message = arrive(both, **environment)
        both.end()
        assert message == ["suite"]
        assert ("pieces" in both.sent) == (again == 0), "it is in the cache"
        suite = arrival.moved(suite_in(project))
        tree = Path(suite.cwd).parent
        assert (tree / "tests" / "test_a.py").read_text() == "def test_a(): pass\n"
        assert (tree / "data").read_bytes() == (project / "data").read_bytes()
        assert suite.args == (f"--rootdir={tree}", "tests")
        assert suite.sys_path[0] == str(tree)
        assert "/elsewhere" not in suite.sys_path
        assert Path(suite.basetemp).is_dir()
        arrival.close()
        assert not list(tmp_path.glob("drm-project-*"))
    assert "sending 2 files" in said[0]


def refused(both: Both, **environment: str) -> str:
    with pytest.raises(LostError) as raised:
        arrive(both, **environment)
    both.end()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_packages_that_do_not_fit_are_told_to_the_coordinator(project: Path) -> None:
    both = Both(Carrier(project, {"pytest": "1.0", "no-such-thing": "2"}, print))
    told = refused(both)
    assert told == both.left
    assert "lacks no-such-thing 2" in told
    assert "pip install 'pytest==1.0'" in told


def test_a_project_that_is_too_large_ends_the_run(project: Path, environment: dict[str, str]) -> None:
    both = Both(Carrier(project, PACKAGES, print, limit_bytes=1000))
    refused(both, **environment)
    assert isinstance(both.failed, ConfigError)
    assert "bundle_limit" in str(both.failed)


def test_a_full_disk_is_told_to_the_coordinator(
    project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    both = Both(Carrier(project, PACKAGES, print))
    told = refused(both, **environment)
    assert told == both.left
    assert "No space left on device" in told
    assert "free some space" in told


@pytest.mark.parametrize(
    "said",
    [
        ["want", ["x"]],
        ["want", "R", [[1]]],
        ["want", "R"],
        ["want", 1, []],
        ["elsewhere"],
        ["what"],
        [],
        ["want"],
        [{}],
    ],
)
def test_words_that_are_none_are_refused(project: Path, said: list[Any]) -> None:
    carrier = Carrier(project, PACKAGES, print)
    receipt = carrier.offer("w1")[1]["receipt"]
    with pytest.raises(LostError, match="of the project"):
        checked(carrier, "w1", [receipt if word == "R" else word for word in said])
    assert not carrier.is_asked
    carrier.close()


def test_a_worker_gets_what_is_in_the_project_and_nothing_else(project: Path) -> None:
    (project / ".gitignore").write_text(".env\n")
    (project / ".env").write_text("secret")
    (project.parent / "elsewhere").write_text("beside it")
    carrier = Carrier(project, PACKAGES, print)
    checked(carrier, "w1", ["elsewhere", carrier.offer("w1")[1]["receipt"]])
    _, listed, receipt = answer(carrier)
    assert not [path for path in ('".env"', '"elsewhere"', "..") if path in listed]
    digests = [hashlib.sha256(text).hexdigest() for text in (b"secret", b"beside it")]
    checked(carrier, "w1", ["want", receipt, [*digests, "../elsewhere", str(project / ".env")]])
    assert answer(carrier)[:2] == ["pieces", []]
    carrier.close()


@pytest.mark.parametrize("guess", ["", "0" * 16, "that of the offer"])
def test_nobody_is_given_more_before_it_has_had_what_it_was_sent(project: Path, guess: str) -> None:
    carrier = Carrier(project, PACKAGES, print)
    receipt = carrier.offer("w1")[1]["receipt"]
    carrier.asked("w1", ["elsewhere", receipt])
    wanted = Manifest.from_json(answer(carrier)[1]).pieces()
    with pytest.raises(LostError, match="before it had"):
        carrier.asked("w1", ["want", receipt if guess.startswith("that") else guess, wanted])
    assert not carrier.is_asked
    assert carrier.given() is None
    carrier.close()


def test_who_asks_twice_is_lost(project: Path) -> None:
    carrier = Carrier(project, PACKAGES, print)
    receipt = carrier.offer("w1")[1]["receipt"]
    carrier.asked("w1", ["elsewhere", receipt])
    with pytest.raises(LostError, match="before it had"):
        carrier.asked("w1", ["elsewhere", receipt])
    carrier.close()


def test_a_file_that_has_changed_costs_who_asked_for_it(project: Path) -> None:
    carrier = Carrier(project, PACKAGES, print)
    carrier.asked("w1", ["elsewhere", carrier.offer("w1")[1]["receipt"]])
    _, listed, receipt = answer(carrier)
    (project / "data").write_bytes(b"other")
    carrier.asked("w1", ["want", receipt, Manifest.from_json(listed).pieces()])
    assert answer(carrier) == ["left", "data has changed since the run began; run again"]
    assert not carrier.is_asked
    carrier.close()


def test_a_coordinator_that_sends_nothing_of_what_was_asked_for_is_left(
    project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Both(Carrier(project, PACKAGES, print))
    monkeypatch.setattr(Bundle, "parcel", lambda self, pieces: [])
    assert "sent nothing" in refused(both, **environment)


def test_where_pieces_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[tuple[dict[str, str], Callable[[], Path]]] = [
        ({"DRM_BUNDLE_CACHE": "/c"}, lambda: Path("/c")),
        ({"XDG_CACHE_HOME": "/x"}, lambda: Path("/x/drm/bundles")),
        ({}, lambda: Path.home() / ".cache/drm/bundles"),
    ]
    for given, expected in places:
        assert cache_folder(given) == expected()
