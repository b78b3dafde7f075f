"""Bytes over calls that may fail and have been carried out all the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.engines.ray_engine.relay import CHUNK_BYTES, Inbox, Outbox, Pace, pieces


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=30), st.integers())
def test_each_piece_that_is_brought_arrives_once_and_in_order_however_calls_fail(sent: list[bytes], seed: int) -> None:
    chance = random.Random(seed)
    inbox, arrived = Inbox(), b""
    for number, data in enumerate(sent, 1):
        while True:  # a call fails before or after it was carried out, and is made again
            fate = chance.choice(("lost before", "lost after", "answered"))
            if fate != "lost before" and inbox.accept(number):
                arrived += data
            if fate == "answered":
                break
    assert arrived == b"".join(sent)


@given(st.lists(st.binary(max_size=2 * CHUNK_BYTES), max_size=10), st.integers())
def test_each_piece_that_is_fetched_arrives_once_and_in_order_however_calls_fail(sent: list[bytes], seed: int) -> None:
    chance, coming = random.Random(seed), list(sent)
    outbox, inbox, arrived = Outbox(), Inbox(), b""
    while coming or outbox.has_after(inbox.last):
        for _ in range(chance.randint(0, 2)):
            if coming:
                outbox.put(coming.pop(0))
        if chance.random() < 0.8:  # else the call is lost on its way there
            outbox.acknowledged(inbox.last)
            number, piece = outbox.after(inbox.last)
            assert len(piece) <= CHUNK_BYTES
            if chance.random() < 0.8 and piece and inbox.accept(number):  # else its answer is lost
                arrived += piece
    assert arrived == b"".join(sent)
    outbox.acknowledged(inbox.last)
    assert outbox.kept_bytes == 0
    assert outbox.after(inbox.last) == (inbox.last, b"")


def test_a_gap_is_an_error() -> None:
    inbox = Inbox()
    assert inbox.accept(1)
    with pytest.raises(ValueError, match="piece 3 came after piece 1"):
        inbox.accept(3)


@given(st.integers(0, 3 * CHUNK_BYTES))
def test_pieces_are_the_whole_and_small(length: int) -> None:
    cut = pieces(bytes(length))
    assert sum(map(len, cut)) == length
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in cut)


def waits(sizes: list[int | None], every_s: float = 0.0) -> list[float]:
    """Return how long each piece waits, of those that come every so many seconds."""
    pace, now_s, found = Pace(), 10.0, []
    for size in sizes:
        found.append(max(0.0, pace.wait_s(now_s)))
        now_s += found[-1]
        pace.gone(now_s, size)
        now_s += every_s
    return found


def test_a_few_pieces_go_at_once_and_a_stream_is_gathered() -> None:
    assert waits([None] * 20) == pytest.approx([0.0] * 4 + [0.005] * 16, abs=1e-9)
    assert waits([4000] * 20) == pytest.approx([0.0, 0.005] + [0.02] * 18, abs=1e-9), "of many bytes more are gathered"
    pace = Pace()
    for _ in range(9):
        pace.gone(10.0, 4000)
    assert pace.wait_s(10.0) > 0.1
    assert pace.wait_s(10.2) <= 0, "after a silence"


def test_an_order_and_its_two_answers_are_never_held_back() -> None:
    assert waits([None] * 100, every_s=0.01) == [0.0] * 100
    assert waits([150, 300] * 100, every_s=0.003) == [0.0] * 200
