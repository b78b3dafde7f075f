"""A worker that says nothing for too long is lost; one that was late, or only had no news, is not."""

from __future__ import annotations

import math

from drm.engines.silence import Silence


def test_who_is_silent_for_half_the_limit_is_asked_once_and_lost_after_the_other_half() -> None:
    silence = Silence(limit_s=10)
    silence.heard("a", 100.0)
    assert (silence.to_ask(104.9), silence.lost(104.9)) == ([], [])
    assert (silence.to_ask(105.0), silence.lost(105.0)) == (["a"], [])
    assert (silence.to_ask(109.9), silence.lost(109.9)) == ([], [])
    assert (silence.to_ask(110.0), silence.lost(110.0)) == ([], ["a"])


def test_who_answers_is_asked_again_only_after_another_silence() -> None:
    silence = Silence(limit_s=10)
    silence.heard("a", 100.0)
    assert silence.to_ask(105.0) == ["a"]
    silence.heard("a", 105.1)
    assert (silence.to_ask(110.0), silence.lost(115.0)) == ([], [])
    assert silence.to_ask(110.2) == ["a"]
    silence.forget("a")
    assert (silence.to_ask(1e9), silence.lost(1e9)) == ([], [])


def test_nobody_is_lost_only_because_this_process_slept() -> None:
    silence = Silence(limit_s=10)
    silence.heard("a", 100.0)
    assert (silence.to_ask(200.0), silence.lost(200.0)) == (["a"], [])
    silence.heard("a", 200.1)
    assert silence.lost(205.0) == []


def test_the_time_until_there_is_something_to_do() -> None:
    silence = Silence(limit_s=10)
    assert silence.due_in_s(0.0) == math.inf
    silence.heard("a", 100.0)
    silence.heard("b", 103.0)
    assert silence.due_in_s(101.0) == 4.0
    assert silence.to_ask(105.0) == ["a"]
    assert silence.due_in_s(105.0) == 3.0
    assert silence.to_ask(108.0) == ["b"]
    assert silence.due_in_s(108.0) == 2.0
    assert silence.due_in_s(111.0) == 0.0
