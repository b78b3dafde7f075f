"""What a worker tells of its use: all while something happens, little while nothing does."""

from __future__ import annotations

from typing import Any

import pytest

from drm.worker.usage import TELL_S, UsageNews

MIB = 2**20


@pytest.fixture
def told() -> list[list[Any]]:
    return []


@pytest.fixture
def news(told: list[list[Any]]) -> UsageNews:
    made = UsageNews(told.append)
    assert made.tell(0.0, (1.0, 100 * MIB, 0.0, 0)), "the first is news"
    return made


def test_what_stays_as_it_is_is_told_now_and_then(news: UsageNews, told: list[list[Any]]) -> None:
    seconds = [second for second in range(1, 21) if news.tell(float(second), (1.01, 101 * MIB, 0.0, 0))]
    assert seconds == [5, 10, 15, 20]
    assert TELL_S == 5.0
    assert told[-1] == ["sample", 1.01, 101 * MIB, 0.0, 0]


@pytest.mark.parametrize(
    "changed",
    [(0.9, 100 * MIB, 0.0, 0), (1.0, 80 * MIB, 0.0, 0), (1.0, 100 * MIB, 0.1, 0), (1.0, 100 * MIB, 0.0, 16 * MIB)],
)
def test_what_changes_is_told_at_once(news: UsageNews, changed: tuple[float, ...]) -> None:
    assert news.tell(1.0, changed)
    assert not news.tell(2.0, changed)


def test_small_changes_add_up(news: UsageNews) -> None:
    assert [news.tell(1.0 + step / 10, (1.0, (100 + 5 * step) * MIB, 0.0, 0)) for step in range(1, 5)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_sample_after_something_began_or_ended_is_told(news: UsageNews) -> None:
    news.is_stirred = True
    assert news.tell(1.0, (1.0, 100 * MIB, 0.0, 0))
    assert not news.tell(2.0, (1.0, 100 * MIB, 0.0, 0))
