"""Stages and components of collected tests."""

from __future__ import annotations

import pytest

from drm.cicd_integration.discovery import OTHER, FoundTest, chosen, component, stage
from drm.model.errors import ConfigError


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("tests/unit/model/test_a.py", "unit"),
        ("benchmarks/bench_a.py", "performance"),
        ("app/tests/integration/test_a.py", "integration"),
        ("app/e2e/unit/test_a.py", "unit"),  # the first of the table
        ("tests/unit.py", OTHER),
        ("unity/test_a.py", OTHER),
        ("test_a.py", OTHER),
    ],
)
def test_the_stage_is_the_first_whose_folders_hold_the_file(file: str, name: str) -> None:
    assert stage(file) == name


@pytest.mark.parametrize(
    ("file", "has_table", "name"),
    [
        ("tests/unit/resource_optimizer/test_a.py", True, "resource_optimizer"),
        ("tests/unit/model/test_a.py", True, "drm_integration"),
        ("tests/unit/billing/test_a.py", False, "billing"),
        ("algorithms/flow/tests/test_a.py", False, "algorithms/flow"),
        ("a/b/c/d/test_a.py", False, "a/b"),
        ("tests/test_a.py", False, OTHER),
        ("/usr/lib/python/site-packages/numpy/linalg/tests/test_a.py", False, "numpy/linalg"),
        ("../other/part/test_a.py", False, "other/part"),
    ],
)
def test_the_component_is_the_tables_or_the_folder(file: str, has_table: bool, name: str) -> None:
    assert component(file, has_table=has_table) == name


TESTS = [
    FoundTest(task_id=f"{place}::test", file=place, path=f"/p/{place}", stage=stage(place), component=where)
    for place, where in [
        ("tests/unit/a/test_1.py", "a"),
        ("tests/unit/a/b/test_2.py", "a/b"),
        ("tests/e2e/test_3.py", OTHER),
    ]
]


@pytest.mark.parametrize(
    ("components", "stages", "numbers"),
    [
        ((), (), "123"),
        (("a",), (), "12"),
        (("a/b",), (), "2"),
        (("a/b", OTHER), (), "23"),
        ((), ("e2e",), "3"),
        (("a",), ("e2e",), ""),
        (("resource_optimizer",), (), ""),
    ],
)
def test_choosing(components: tuple[str, ...], stages: tuple[str, ...], numbers: str) -> None:
    found = chosen(TESTS, components=components, stages=stages)
    assert "".join(test.file[-4] for test in found) == numbers


def test_a_name_that_there_is_not_is_said_with_the_likeliest() -> None:
    with pytest.raises(ConfigError, match=r"--stage: there is no stage 'unti'; did you mean 'unit'\?"):
        chosen(TESTS, stages=["unti"])
    with pytest.raises(ConfigError, match=r"--component: there is no component 'zzz'; there are a, a/b, "):
        chosen(TESTS, components=["zzz"])
