"""Which changes of a configuration file can matter to tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.cicd_integration.configuration import is_configuration, matters

CFG = "[tool:pytest]\naddopts = -q\n[flake8]\nmax = 80\n[options]\ninstall_requires =\n    numpy\n"
TOML = "[project]\nname = 'x'\n[tool.ruff.lint]\nselect = ['E']\n[tool.pytest.ini_options]\naddopts = '-q'\n"


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("setup.cfg", CFG, CFG.replace("max = 80", "max = 100"), False),
        ("setup.cfg", CFG, CFG.replace("[flake8]\nmax = 80\n", ""), False),
        ("setup.cfg", CFG, CFG + "[importlinter:contract:1]\nname = floors\n[mypy-numpy.*]\na = b\n", False),
        ("setup.cfg", CFG, f"# a word\n\n{CFG}", False),
        ("setup.cfg", CFG, CFG.replace("-q", "-x"), True),
        ("setup.cfg", CFG, CFG.replace("numpy", "scipy"), True),
        ("setup.cfg", CFG, CFG + "[drm]\nworkers = 2\n", True),
        ("setup.cfg", CFG, CFG + "[what-nobody-knows]\na = b\n", True),
        ("setup.cfg", CFG, CFG + "[DEFAULT]\na = b\n", True),
        ("setup.cfg", CFG, CFG + "no section of anything", True),
        ("setup.cfg", None, CFG, True),
        ("setup.cfg", CFG, None, True),
        ("tox.ini", "[testenv]\na = b\n", "[testenv]\na = c\n", True),
        ("tox.ini", "[flake8]\na = b\n", "[flake8]\na = c\n", False),
        ("pyproject.toml", TOML, TOML.replace("'E'", "'E', 'F'"), False),
        ("pyproject.toml", TOML, TOML + "[tool.mypy]\nstrict = true\n", False),
        ("pyproject.toml", TOML, TOML.replace("'-q'", "'-x'"), True),
        ("pyproject.toml", TOML, TOML.replace("name = 'x'", "name = 'x'\ndependencies = ['numpy']"), True),
        ("pyproject.toml", TOML, TOML + "[tool.ruffle]\na = 1\n", True),
        ("pyproject.toml", TOML, TOML + "[tool", True),
        ("pyproject.toml", "tool = 1\n", "tool = 2\n", True),
        ("pytest.ini", "[flake8]\na = b\n", "[flake8]\na = c\n", True),
        ("requirements.txt", "a", "b", True),
    ],
)
def test_only_what_tests_are_run_with_matters(name: str, before: str | None, after: str | None, expected: bool) -> None:
    assert is_configuration(name)
    assert matters(name, before, after) is expected


@given(before=st.text(max_size=60), after=st.text(max_size=60), name=st.sampled_from(["setup.cfg", "pyproject.toml"]))
def test_any_text_is_an_answer(before: str, after: str, name: str) -> None:
    assert matters(name, before, after) in (True, False)
