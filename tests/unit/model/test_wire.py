"""Frames: any message comes through any cutting of the stream; nonsense is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.model.errors import LostError
from drm.model.wire import MAX_FRAME_BYTES, FrameReader, encode_frame

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.lists(st.builds(lambda name, rest: [name, *rest], st.text(), st.lists(JSON, max_size=3)), max_size=5)


@given(MESSAGES, st.integers(1, 40))
def test_messages_come_through_whole_however_the_stream_is_cut(messages: list[list[object]], step: int) -> None:
    stream = b"".join(map(encode_frame, messages))
    reader = FrameReader()
    received = [message for at in range(0, len(stream), step) for message in reader.feed(stream[at : at + step])]
    assert received == messages


def test_what_json_cannot_hold_becomes_text() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    message = ["x", {1, 2}, {(1, 2): "odd key"}, b"bytes", object]
    (received,) = FrameReader().feed(encode_frame(message))
    assert received[1] == "{1, 2}"
    assert received[2] == {"(1, 2)": "odd key"}
    (received,) = FrameReader().feed(encode_frame(["x", cycle]))
    assert "nested too deeply" in repr(received)


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"[]", b"[1]", b'"text"', b"\xff"])
def test_a_frame_that_holds_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(LostError):
        FrameReader().feed(struct.pack("!I", len(body)) + body)


def test_a_stream_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(LostError, match="does not speak this protocol"):
        FrameReader().feed(b"HTTP/1.1 400 Bad Request\r\n")
    assert struct.unpack("!I", b"HTTP")[0] > MAX_FRAME_BYTES


def test_a_frame_of_more_values_than_memory_should_hold_is_refused() -> None:
    body = b'["x"' + 8_000_001 * b",0" + b"]"
    with pytest.raises(LostError, match="holds more than"):
        FrameReader().feed(struct.pack("!I", len(body)) + body)
