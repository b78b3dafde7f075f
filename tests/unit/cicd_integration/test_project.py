"""What a project's files say of its stages, its components and how it is installed."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cicd_integration.project import OTHER, Project, component_names, project_of
from drm.cicd_integration.project_files import PytestFiles, pytest_files_of
from drm.cicd_integration.rendering import NOXFILE_MARK, render_noxfile
from drm.model.errors import ConfigError
from drm.model.stages import STAGES

FOLDERS = st.sampled_from(["tests", "test", "unit", "integration", "e2e", "api", "db", "benchmarks", "distributed"])
PATHS = st.lists(
    st.builds(lambda parts, name: "/".join((*parts, name)), st.lists(FOLDERS, max_size=4), st.just("test_a.py")),
    max_size=8,
    unique=True,
)


def folders(project: Project) -> dict[str, tuple[str, ...]]:
    return {stage.name: stage.paths for stage in project.stages}


def test_each_stage_has_its_folder() -> None:
    found = project_of(["tests/unit/test_a.py", "tests/e2e/test_b.py", "benchmarks/bench_c.py"], {})
    assert folders(found) == {
        "unit": ("tests/unit",),
        "integration": ("tests/integration",),
        "performance": ("benchmarks",),
        "e2e": ("tests/e2e",),
        "distributed": ("tests/distributed",),
    }


def test_tests_of_no_stage_are_unit_tests() -> None:
    found = project_of(["tests/test_a.py", "tests/unit/test_b.py", "tests/integration/test_c.py"], {})
    assert folders(found)["unit"] == ("tests",)
    assert folders(found)["integration"] == ("tests/integration",)


@given(files=PATHS)
def test_no_test_is_lost(files: list[str]) -> None:
    found = project_of(files, {})
    for path in files:
        assert any(f"./{path}".startswith((f"./{folder}/", f"{folder}/")) for s in found.stages for folder in s.paths)


@pytest.mark.parametrize(
    ("files", "unit"),
    [
        (["test_a.py", "tests/test_b.py"], (".",)),
        (["shop/tests/test_a.py", "orders/test_b.py", "tests/unit/test_c.py"], ("tests/unit", "orders", "shop")),
        (["src/pkg/a_test.py"], ("src",)),
        (["shop/tests.py"], ("tests/unit",)),
    ],
)
def test_tests_are_found_wherever_they_are(files: list[str], unit: tuple[str, ...]) -> None:
    found = project_of(files, {})
    assert folders(found)["unit"] == unit
    assert found.components == ()


@pytest.mark.parametrize(
    "texts",
    [
        {"pytest.ini": "[pytest]\npython_files = tests.py test_*.py\ntestpaths = shop/ orders\n"},
        {"pyproject.toml": "[tool.pytest.ini_options]\npython_files='tests.py test_*.py'\ntestpaths='shop orders'"},
        {"pyproject.toml": "[tool.pytest]\npython_files=['tests.py', 'test_*.py']\ntestpaths=['shop', 'orders']"},
        {"setup.cfg": "[tool:pytest]\npython_files =\n  tests.py\n  test_*.py\ntestpaths = shop\n  orders"},
        {
            "pyproject.toml": "[tool.ruff]\n",
            "tox.ini": "[tox]\n[pytest]\npython_files = tests.py test_*.py\ntestpaths = shop orders",
        },
    ],
    ids=lambda texts: " ".join(texts),
)
def test_tests_are_those_that_pytest_is_told_of(texts: dict[str, str]) -> None:
    files = ["shop/tests.py", "orders/test_a.py", "examples/test_b.py", "shop/a_test.py", "tests/e2e/test_c.py"]
    found = project_of(files, texts)
    assert folders(found)["unit"] == ("orders", "shop")
    assert folders(found)["e2e"] == ("tests/e2e",)
    assert found.patterns == ("tests.py", "test_*.py", "bench_*.py")


def test_the_first_file_with_settings_of_pytest_counts() -> None:
    texts = {"pytest.ini": "[pytest]\n", "setup.cfg": "[tool:pytest]\ntestpaths = a\n"}
    assert pytest_files_of(texts) == PytestFiles()
    assert pytest_files_of({"setup.cfg": "[tool:pytest]\ntestpaths = .\n"}).are_looked_for_at("b/test_a.py")


@pytest.mark.parametrize(
    ("files", "components"),
    [
        (["tests/unit/api/test_a.py", "tests/unit/db/deep/test_b.py"], ("api", "db", OTHER)),
        (["tests/unit/db/test_b.py", "tests/unit/api/test_a.py", "tests/test_c.py"], ("api", "db", OTHER)),
        (["tests/api/test_a.py", "tests/db/test_b.py", "tests/e2e/test_c.py"], ("api", "db", OTHER)),
        (["tests/unit/api/test_a.py"], ()),
        (["tests/unit/test_a.py"], ()),
        (["tests/unit/a b/test_a.py", "tests/unit/$x/test_b.py"], ()),
        ([], ()),
    ],
)
def test_components_are_the_folders_of_the_unit_stage(files: list[str], components: tuple[str, ...]) -> None:
    assert project_of(files, {}).components == components


def test_components_can_be_given() -> None:
    assert component_names(" api, db,api") == ("api", "db", OTHER)
    assert component_names("") == ()
    assert project_of(["tests/unit/x/test_a.py", "tests/unit/y/test_a.py"], {}, components=()).components == ()
    with pytest.raises(ConfigError, match=r"--components: 'a b' is no name of a component; letters"):
        component_names("a b")


@pytest.mark.parametrize(
    ("files", "texts", "install"),
    [
        ([], {"pyproject.toml": "[tool.ruff]"}, ()),
        ([], {"pyproject.toml": "[project]\nname='x'"}, ("-e", ".")),
        ([], {"pyproject.toml": "[project.optional-dependencies]\ndev=[]\ntest=[]"}, ("-e", ".[test]")),
        ([], {"pyproject.toml": "[build-system]\n[dependency-groups]\ndev=[]"}, ("-e", ".", "--group", "dev")),
        (["setup.py"], {}, ("-e", ".")),
        ([], {"setup.cfg": "[metadata]\nname=x\n[options.extras_require]\ntests = a"}, ("-e", ".[tests]")),
        (["requirements.txt", "requirements-dev.txt"], {}, ("-r", "requirements.txt", "-r", "requirements-dev.txt")),
    ],
)
def test_the_project_is_installed_as_it_says(files: list[str], texts: dict[str, str], install: Any) -> None:
    assert project_of(files, texts).install == install


@pytest.mark.parametrize(
    ("name", "text"), [("pyproject.toml", "[project\n"), ("setup.cfg", "no section\n"), ("setup.cfg", "[a]\n[a]\n")]
)
def test_damaged_file_is_named_in_a_line(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} cannot be read: .*; correct the file") as caught:
        project_of([], {name: text})
    assert "\n" not in str(caught.value)


@given(files=PATHS, requirement=st.text(max_size=40))
def test_noxfile_is_python_whatever_is_in_it(files: list[str], requirement: str) -> None:
    project = project_of(files, {})
    text = render_noxfile(project, requirement=requirement)
    assigned = {
        node.targets[0].id: node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert NOXFILE_MARK in text
    assert ast.literal_eval(assigned["DRM"]) == requirement
    assert tuple(ast.literal_eval(assigned["COMPONENTS"])) == project.components
    stages = ast.literal_eval(assigned["STAGES"])
    assert {name: tuple(row[1]) for name, row in stages.items()} == folders(project)
    assert list(stages) == [stage.name for stage in STAGES]


def test_only_files_of_tests_count() -> None:
    names = ["test_a.py", "bench_a.py", "a_test.py", "conftest.py", "test_a.txt", "a/test_b.py"]
    assert [name for name in names if PytestFiles().are(name)] == [
        "test_a.py",
        "bench_a.py",
        "a_test.py",
        "a/test_b.py",
    ]
