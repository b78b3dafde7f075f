"""Whatever is read that others write: every input that once broke a reader, and many that were changed at random."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzzing import FOUND, TARGETS, begin_with, check

_TRIES, _TRIES_OF_YAML = 150, 30  # its parser is written in Python, so that no input can crash it, and slow
_ODD = [b"", b"\0", b"\xff\xfe", b'"', b"{", b"[" * 2000, b"-1", b"1e999", b"NaN", b"null", b"9" * 400, b"\xed\xa0\x80"]

kept = [(path.parent.name, path) for path in sorted(FOUND.glob("*/*"))]


@pytest.mark.parametrize(("target", "path"), kept, ids=[f"{target}-{path.name}" for target, path in kept])
def test_what_once_broke_a_reader(target: str, path: Path, tmp_path: Path) -> None:
    check(target, path.read_bytes(), tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_changed_at_random(target: str, tmp_path: Path) -> None:
    chance = random.Random(target)
    inputs = begin_with(target)
    assert inputs, "there is something to begin with"
    for number in range(_TRIES_OF_YAML if target == "scenario-yaml" else _TRIES):
        data = bytearray(chance.choice(inputs)[:20_000])
        for _ in range(chance.randint(1, 4)):
            at = chance.randint(0, len(data))
            data[at : at + chance.choice((0, 1, 4, 40))] = chance.choice(_ODD)
        try:
            check(target, bytes(data), tmp_path)
        except Exception as error:
            raise AssertionError(f"try {number}: {bytes(data)!r}") from error


def test_a_reader_that_breaks_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reader(folder: Path, data: bytes) -> None:
        raise KeyError("x")

    monkeypatch.setitem(TARGETS, "wire", reader)
    with pytest.raises(KeyError):
        check("wire", b"", tmp_path)
