"""``drm worker`` in its cluster: what it does when Ray ends, or does not start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drm.cluster_commands import worker
from drm.cluster_commands.worker import Membership
from drm.engines.ray_engine.node import NodeSettings, NotStartedError, Ports
from drm.model.errors import LostError

SETTINGS = NodeSettings(name="w1", host="10.0.0.2", ports=Ports(first=7440), coordinator="10.0.0.1:7410")


class Node:
    """One start of Ray: it goes "wrong", or it is "well" until it has been looked at three times."""

    def __init__(self, fate: str, ended: list[str]) -> None:
        self._fate, self._ended, self._looks = fate, ended, 3

    def wait_ready(self, meanwhile: Callable[[], None]) -> None:
        meanwhile()
        if self._fate == "wrong":
            raise NotStartedError("Ray did not start on 10.0.0.2: the current node timed out during startup")

    def is_alive(self) -> bool:
        self._looks -= 1
        return self._looks > 0

    def last_line(self) -> str:
        return "it timed out" if self._fate == "wrong" else "it missed too many heartbeats"

    def end(self) -> None:
        self._ended.append(self._fate)


class Visitor:
    """Is asked to leave after so many beats."""

    name, heard_s = "w1", 0.0

    def __init__(self, beats: int) -> None:
        self._beats = beats

    def call(self) -> dict[str, Any]:
        self._beats -= 1
        return {"leave": self._beats < 0}


def kept(monkeypatch: pytest.MonkeyPatch, fates: list[str], beats: int) -> tuple[Callable[[], int], list[str]]:
    """Return what keeps a machine whose starts of Ray have these fates, and the list of those that were ended."""
    left, ended = list(fates), []
    monkeypatch.setattr(worker, "NodeProcess", lambda settings: Node(left.pop(0), ended))
    monkeypatch.setattr(worker, "BEAT_S", 0.0)
    made = Membership(SETTINGS, Visitor(beats), lambda _: False)  # type: ignore[arg-type]
    return made.keep, ended


def test_ray_is_started_again_where_it_did_not_start_and_where_it_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep, ended = kept(monkeypatch, ["wrong", "well", "wrong", "well", "well"], beats=8)
    assert keep() == 0
    said = capsys.readouterr()
    text = said.out + said.err
    assert text.count("Ray ended (it timed out): starting it again") == 2
    assert text.count("Ray ended (it missed too many heartbeats): starting it again") == 2
    assert text.count("w1 has joined") == 2
    assert ended == ["wrong", "well", "wrong", "well", "well"], "each is ended before the next is started, and the last"


def test_five_times_in_five_minutes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    keep, ended = kept(monkeypatch, ["wrong"] * 6, beats=99)
    with pytest.raises(LostError, match="Ray ended 5 times within 300 s"):
        keep()
    assert ended == ["wrong"] * 5
