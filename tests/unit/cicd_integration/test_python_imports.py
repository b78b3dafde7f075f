"""What is read from the text of a Python file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cicd_integration.python_imports import NOTHING, facts_of


@pytest.mark.parametrize(
    ("source", "imports"),
    [
        ("import a.b as c, d", {(0, "a.b"), (0, "d")}),
        ("from a import b, c", {(0, "a"), (0, "a.b"), (0, "a.c")}),
        ("from a import *", {(0, "a")}),
        ("from . import b", {(1, ""), (1, "b")}),
        ("from ..a import b", {(2, "a"), (2, "a.b")}),
        ("def f():\n    import a", {(0, "a")}),
        ("try:\n    import a\nexcept ImportError:\n    import b", {(0, "a"), (0, "b")}),
        ("import importlib\nimportlib.import_module('a.b')", {(0, "importlib"), (0, "a.b")}),
        ("x = __import__('a')", {(0, "a")}),
        ("a = pytest.importorskip('a')", {(0, "a")}),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", {(0, "b")}),
        ("if typing.TYPE_CHECKING:\n    import a", set()),
    ],
)
def test_imports(source: str, imports: set[tuple[int, str]]) -> None:
    assert facts_of(source.encode()).imports == imports


def test_names_made_at_run_time_open_their_package() -> None:
    assert facts_of(b"import_module(f'a.b.{name}')").packages == {"a.b"}
    assert facts_of(b"import_module(f'{name}')").packages == frozenset()


def test_texts() -> None:
    facts = facts_of(
        b"run([exe, '-m', 'tool', 'x'])\nplugins = ['a.b']\nopen(root / 'docs/page.md')\n'no name. at all'"
    )
    assert facts.run == {"tool"}
    assert facts.names == {"a.b", "docs.page"} - {"docs.page"}
    assert facts.files == {"page.md", "a.b"}


def test_libraries_are_the_first_parts_of_absolute_imports() -> None:
    assert facts_of(b"import torch.nn\nfrom . import x\nfrom numpy import array").libraries == {"torch", "numpy"}


@pytest.mark.parametrize("source", [b"def", b"\0", b"\xff\xfe", b"(" * 10_000, b"x = 1\n" + b"-" * 200_000 + b"1"])
def test_what_is_no_python_says_nothing(source: bytes) -> None:
    assert facts_of(source) == NOTHING


@given(st.binary(max_size=200))
def test_any_bytes_are_read(source: bytes) -> None:
    facts_of(source)
