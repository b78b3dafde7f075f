"""Strings from people become numbers once, or one clear error."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.model.errors import ConfigError
from drm.model.units import format_bytes, format_duration, parse_bytes, parse_count_range, parse_duration, shown


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *((text, 2**32) for text in ("4GiB", "4Gi", "4G", "4g", " 4 gib ")),
        *((text, 12) for text in ("12", "12B", 12, 12.9)),
        ("4GB", 4 * 10**9),
        ("1.5MiB", 1572864),
        ("2TiB", 2**41),
        ("0", 0),
    ],
)
def test_sizes(text: str | float, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "4 GiBs", "-1", "1e3", "4 4", "four", -1, math.nan, math.inf, True, None])
def test_what_is_no_size_is_named(text: object) -> None:
    with pytest.raises(ConfigError, match="memory: ") as caught:
        parse_bytes(text)  # type: ignore[arg-type]
    assert repr(text) in str(caught.value)
    assert "4GiB" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("90s", 90), ("2m", 120), ("2min", 120), ("1h", 3600), ("500ms", 0.5), (1.5, 1.5)]
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", -0.1, math.nan, False, []])
def test_what_is_no_duration_is_named(text: object) -> None:
    with pytest.raises(ConfigError, match="timeout: "):
        parse_duration(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [10**400, 10**5000, "9" * 400, "9" * 5000, 2**63, math.inf], ids=lambda _: "large")
def test_more_than_there_can_be_is_refused_in_a_short_line(value: object) -> None:
    for parse in (parse_bytes, parse_duration):
        with pytest.raises(ConfigError) as caught:
            parse(value)  # type: ignore[operator]
        assert len(str(caught.value)) < 200


def test_whatever_is_wrong_can_be_shown() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert shown(Mute()) == "<Mute that cannot be shown>"
    assert shown("a\nb") == r"'a\nb'"
    assert "\n" not in shown(type("Lines", (), {"__repr__": lambda _: "a\nb"})())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.24, "240 ms"), (0.9999, "1.0 s"), (4.2, "4.2 s"), (59.99, "1m00s"), (1200, "20m00s"), (3720, "1h02m")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**32, "4 GiB"), (2**50, "1024 TiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_bytes(size) == text


@given(st.integers(0, 2**50))
def test_a_size_for_people_is_near_the_size_again(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.06, abs=1)


@pytest.mark.parametrize(("text", "counts"), [("4", (4, 4)), ("1..4", (1, 4)), ("auto", (1, 3)), (" AUTO ", (1, 3))])
def test_count_ranges(text: str, counts: tuple[int, int]) -> None:
    assert parse_count_range(text, what="--workers", auto=3) == counts


@pytest.mark.parametrize(
    "text", ["0", "4..1", "..4", "1..", "-1", "1...4", "x", "", "1.5", "²", "1001", "1..99999999999", "9" * 5000]
)
def test_what_is_no_count_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="--workers: "):
        parse_count_range(text, what="--workers", auto=3)
