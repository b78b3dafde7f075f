"""Which tests a change may reach, and the reason that is given."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cicd_integration.changes import Reach, reach_of
from drm.cicd_integration.python_imports import facts_of

PROJECT = {
    "app/__init__.py": "",
    "app/core.py": "",
    "app/api.py": "from app import core",
    "app/sub/__init__.py": "from .leaf import x",
    "app/sub/leaf.py": "from .. import core",
    "app/plugins/__init__.py": "def load(n): return import_module(f'app.plugins.{n}')",
    "app/plugins/one.py": "",
    "app/alone.py": "",
    "tool/__main__.py": "import app.alone",
    "tests/conftest.py": "import helpers",
    "tests/helpers.py": "",
    "tests/unit/conftest.py": "",
    "tests/unit/test_api.py": "import app.api",
    "tests/unit/test_leaf.py": "from app.sub import x",
    "tests/unit/test_core.py": "def test_x():\n    from app.core import f",
    "tests/test_tool.py": "subprocess.run([sys.executable, '-m', 'tool'])",
    "tests/test_page.py": "open('docs/page.md')",
    "tests/test_plugins.py": "import app.plugins",
}
TESTS = [file for file in PROJECT if "/test_" in file]
UNIT = {"tests/unit/test_api.py", "tests/unit/test_core.py", "tests/unit/test_leaf.py"}


def reach(*changed: str, project: Mapping[str, str] = PROJECT, tests: list[str] = TESTS) -> Reach:
    return reach_of(changed, tests, {file: facts_of(text.encode()) for file, text in project.items()}, ["", "tests"])


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("tests/unit/test_api.py", {"tests/unit/test_api.py"}),
        ("app/core.py", UNIT),
        ("app/api.py", {"tests/unit/test_api.py"}),
        ("app/sub/leaf.py", {"tests/unit/test_leaf.py"}),
        ("app/__init__.py", UNIT | {"tests/test_plugins.py", "tests/test_tool.py"}),
        ("app/plugins/one.py", {"tests/test_plugins.py"}),
        ("app/alone.py", {"tests/test_tool.py"}),
        ("tests/unit/conftest.py", UNIT),
        ("tests/conftest.py", set(TESTS)),
        ("tests/helpers.py", set(TESTS)),
        ("setup.cfg", set(TESTS)),
        ("requirements-dev.txt", set(TESTS)),
        ("tests/unit/pytest.ini", UNIT),
        ("docs/page.md", {"tests/test_page.py"}),
        ("tests/unit/data/case.json", UNIT),
        ("app/sub/table.csv", {"tests/unit/test_leaf.py"}),
        ("README.md", set()),
        ("app/gone.py", set()),
    ],
)
def test_what_a_change_reaches(changed: str, tests: set[str]) -> None:
    found = reach(changed)
    assert set(found.reasons) == tests
    assert found.without == (() if tests else (changed,))


@pytest.mark.parametrize(
    ("changed", "test", "reason"),
    [
        ("tests/unit/test_api.py", "tests/unit/test_api.py", "it changed"),
        ("app/core.py", "tests/unit/test_core.py", "imports app/core.py, which changed"),
        ("app/core.py", "tests/unit/test_api.py", "imports app/api.py -> app/core.py, which changed"),
        ("tests/helpers.py", "tests/test_page.py", "is below tests/conftest.py -> tests/helpers.py, which changed"),
        ("setup.cfg", "tests/test_page.py", "is configured by setup.cfg, which changed"),
        ("docs/page.md", "tests/test_page.py", "names docs/page.md, which changed"),
        ("tests/unit/data/x", "tests/unit/test_api.py", "lies beside tests/unit/data/x, which changed"),
    ],
)
def test_the_reason_is_the_shortest_way(changed: str, test: str, reason: str) -> None:
    assert str(reach(changed).reasons[test]) == reason


def test_a_long_way_is_shown_short_and_kept_whole() -> None:
    links = {f"m{n}.py": f"import m{n + 1}" for n in range(9)}
    found = reach("m9.py", project={**links, "m9.py": "", "test_a.py": "import m0"}, tests=["test_a.py"])
    reason = found.reasons["test_a.py"]
    assert str(reason) == "imports m0.py -> (8 more) -> m9.py, which changed"
    assert reason.chain == ("test_a.py", *(f"m{n}.py" for n in range(10)))


def test_a_module_that_is_gone_reaches_those_that_import_it() -> None:
    project = {file: text for file, text in PROJECT.items() if file != "app/api.py"}
    assert set(reach("app/api.py", project=project).reasons) == {"tests/unit/test_api.py"}


def test_a_circle_of_imports_ends() -> None:
    project = {"a.py": "import b", "b.py": "import a", "test_a.py": "import a"}
    assert set(reach("b.py", project=project, tests=["test_a.py"]).reasons) == {"test_a.py"}


def test_a_namespace_package_and_a_source_folder() -> None:
    project = {"lib/space/part.py": "", "test_a.py": "from space import part"}
    facts = {file: facts_of(text.encode()) for file, text in project.items()}
    assert set(reach_of(["lib/space/part.py"], ["test_a.py"], facts, ["", "lib"]).reasons) == {"test_a.py"}
    assert not reach_of(["lib/space/part.py"], ["test_a.py"], facts, [""]).reasons


def test_files_without_tests_are_those_that_lead_to_none_even_where_others_lead_to_all() -> None:
    found = reach("setup.cfg", "app/core.py", "README.md")
    assert set(found.reasons) == set(TESTS)
    assert found.without == ("README.md",)


@given(st.sets(st.sampled_from([*PROJECT, "setup.cfg", "README.md"])), st.sampled_from([*PROJECT, "docs/page.md"]))
def test_more_changes_never_reach_less(changed: set[str], one: str) -> None:
    assert set(reach(*changed).reasons) <= set(reach(*changed, one).reasons)
    assert set(reach(*changed, one).reasons) == set(reach(*changed).reasons) | set(reach(one).reasons)
