"""``drm worker`` at the coordinator's door: it is let in, waits for its own name, or is refused."""

from __future__ import annotations

from typing import Any

import pytest

from drm.cluster_commands import worker
from drm.cluster_commands.worker import Membership, Visitor
from drm.model.errors import ConfigError


@pytest.fixture
def visitor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes a visitor who is answered so, one answer after another."""
    heard: list[dict[str, Any]] = []

    def make(*answers: Any) -> tuple[Visitor, list[dict[str, Any]]]:
        left = list(answers)

        def knock(_host: str, _port: int, _credentials: Any, said: dict[str, Any]) -> dict[str, Any]:
            heard.append(said["more"])
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return dict(answer)

        monkeypatch.setattr(worker, "knock", knock)
        return Visitor("10.0.0.1", 7411, None, "w1", {"address": "10.0.0.2"}), heard  # type: ignore[arg-type]

    return make


def test_one_that_is_let_in_does_not_wait(visitor: Any) -> None:
    one, heard = visitor({"leave": False})
    assert one.arrive(lambda _: pytest.fail("it waits"))
    assert [said["wants"] for said in heard] == ["join"]


def test_one_that_came_back_waits_and_says_so_once(visitor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    one, heard = visitor({"wait": True}, {"wait": True}, {"leave": False})
    waits: list[float] = []
    assert one.arrive(lambda seconds: bool(waits.append(seconds)))
    assert len(waits) == 2
    assert [said["waited_s"] >= 0 for said in heard] == [True] * 3
    said = capsys.readouterr()
    assert (said.out + said.err).count("is not forgotten yet") == 1


def test_one_that_is_told_to_end_waits_no_longer(visitor: Any) -> None:
    one, _ = visitor({"wait": True})
    assert not one.arrive(lambda _: True)


def test_one_that_is_refused_in_the_end(visitor: Any) -> None:
    one, _ = visitor({"wait": True}, ConfigError("a worker called 'w1' has joined already"))
    with pytest.raises(ConfigError, match="has joined already"):
        one.arrive(lambda _: False)


def test_one_whose_name_another_has_taken_meanwhile_leaves(visitor: Any) -> None:
    """It slept until it was forgotten: the other one came to the same address, and is there."""
    one, _ = visitor({"leave": False}, {"wait": True})
    assert one.arrive(lambda _: False)
    settings: Any = None
    with pytest.raises(ConfigError, match=r"^w1 was silent, and another machine has joined under its name.* --name"):
        Membership(settings, one, lambda _: False)._beat()
