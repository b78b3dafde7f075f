"""Which files configure tests, and whether a change of one can matter to them. Pure.

``setup.cfg``, ``tox.ini`` and ``pyproject.toml`` are shared by many tools: a change that is only in the sections of
tools that never run tests reaches none.
"""

from __future__ import annotations

import configparser
import re
import tomllib
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["is_configuration", "is_shared", "matters"]

_FILES = (
    *("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "setup.cfg", "setup.py", "tox.ini"),
    *("requirements*.txt", "constraints*.txt", "uv.lock", "poetry.lock", "pdm.lock", "Pipfile", "Pipfile.lock"),
)
_SHARED = ("setup.cfg", "tox.ini", "pyproject.toml")
# Tools that look at the text of a program, or pack and announce it. Whatever else there is may matter.
_OTHER_TOOLS = (
    *("autoflake", "autopep8", "bandit", "basedpyright", "black", "bumpversion", "bumpver", "check-manifest"),
    *("cibuildwheel", "codespell", "commitizen", "darglint", "deptry", "djlint", "doc8", "docformatter", "flake8"),
    *("importlinter", "interrogate", "isort", "mypy", "pep8", "pycodestyle", "pydoclint", "pydocstyle", "pylint"),
    *("pyre", "pyright", "pytype", "pyupgrade", "refurb", "ruff", "semantic_release", "towncrier", "ty", "typos"),
    *("vulture", "yapf", "zest.releaser", "zizmor"),
)
_TOOL = re.compile(rf"(?:tool[:.])?(?:{'|'.join(map(re.escape, _OTHER_TOOLS))})(?:[-:.].*)?")


def is_configuration(name: str) -> bool:
    """Tell whether a file of this name configures the tests below its folder."""
    return any(fnmatchcase(name, pattern) for pattern in _FILES)


def is_shared(name: str) -> bool:
    """Tell whether such a file has sections for many tools."""
    return name in _SHARED


def matters(name: str, before: str | None, after: str | None) -> bool:
    """Tell whether a change of the file from one text to the other can matter to tests.

    None: it is not there, or cannot be read. What cannot be parsed matters, and so does every section that is not known
    to be of a tool that never runs tests. Comments and the order of sections do not.
    """
    if before is None or after is None or not is_shared(name):
        return True
    parse = _tables if name.endswith(".toml") else _sections
    try:
        old, new = parse(before), parse(after)
    except (ValueError, RecursionError, configparser.Error):
        return True
    changed = {section for section in {*old, *new} if old.get(section) != new.get(section)}
    return any(not _TOOL.fullmatch(section) for section in changed)


def _sections(text: str) -> dict[str, Any]:
    parser = configparser.RawConfigParser(default_section="")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def _tables(text: str) -> dict[str, Any]:
    tables = tomllib.loads(text)
    tools = tables.pop("tool", {})
    return tables | ({f"tool.{name}": tool for name, tool in tools.items()} if isinstance(tools, dict) else {"": tools})
