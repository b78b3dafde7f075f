"""A worker that says nothing for too long is lost; one that was late is not."""

from __future__ import annotations

from drm.engines.silence import Silence


def test_only_who_was_heard_can_be_missed_and_only_after_the_limit() -> None:
    silence = Silence(limit_s=15)
    assert silence.silent(1e9) == []
    silence.heard("a", 100.0)
    silence.heard("b", 110.0)
    assert silence.silent(115.0) == []
    assert silence.silent(115.1) == ["a"]
    silence.heard("a", 116.0)
    assert silence.silent(126.0) == ["b"]
    silence.forget("b")
    assert silence.silent(126.0) == []
