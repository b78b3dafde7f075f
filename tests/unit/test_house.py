"""The rules of the house that no linter knows: lengths of modules, the map of drm/README.md, listed doors, excuses."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import inspect
import pkgutil
import re
import tomllib
from configparser import ConfigParser
from pathlib import Path
from types import ModuleType

import pytest

import drm

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "drm").rglob("*.py"))
MOST_LINES = 300


def too_long(source: str) -> bool:
    """Tell whether a module is long and its docstring does not say why, in a sentence with the word "lines"."""
    if len(source.splitlines()) <= MOST_LINES:
        return False
    return re.search(r"\blines\b", ast.get_docstring(ast.parse(source)) or "") is None


def test_a_long_module_says_why() -> None:
    """At 300 lines ask why: remove, move, split by names, or write the answer into the module's docstring."""
    long = [path.relative_to(ROOT).as_posix() for path in MODULES if too_long(path.read_text(encoding="utf-8"))]
    assert long == []


@pytest.mark.parametrize(
    ("docstring", "lines", "expected"),
    [("A table.", 300, False), ("A table.", 301, True), ("A table; its lines belong together.", 301, False)],
)
def test_what_counts_as_too_long(docstring: str, lines: int, expected: bool) -> None:
    assert too_long(f'"""{docstring}"""\n' + "x = 1\n" * (lines - 1)) is expected


def dataclasses_of(package: str) -> dict[str, dict[str, bool]]:
    """Return the marks of each dataclass, by its name."""
    found = {}
    for path in sorted((ROOT / "drm" / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for mark in node.decorator_list if isinstance(node, ast.ClassDef) else ():
                if ast.unparse(mark).startswith("dataclass"):
                    keywords = mark.keywords if isinstance(mark, ast.Call) else []
                    found[node.name] = {each.arg or "": ast.literal_eval(each.value) for each in keywords}
    return found


def test_what_is_decided_and_what_it_rests_on_cannot_be_changed() -> None:
    """``tests/mutation.py`` leaves these marks out. What is built up while a decision is made is named here."""
    packages = ("dynamic_resource_manager", "resource_performance_predictor", "resource_optimizer")
    marks = {name: each for package in packages for name, each in dataclasses_of(package).items()}
    assert len(marks) > 40
    assert [name for name, each in marks.items() if not each.get("slots")] == []
    changing = {name for name, each in marks.items() if not each.get("frozen")}
    assert changing == {"Bought", "Kind", "Lane", "_Demand", "_Seen"}


def test_what_vulture_is_not_to_report_is_there() -> None:
    """An excuse for a name that is gone would hide the next one of that name."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["vulture"]
    words: set[str] = set()
    for path in [*MODULES, ROOT / "noxfile.py"]:
        words.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    assert [pattern for pattern in config["ignore_names"] if not fnmatch.filter(words, pattern)] == []


# -- the map


def floors_of_the_map() -> dict[str, int]:
    """Return the floor of each module that drm/README.md names; a module named twice is a mistake of the map."""
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", (ROOT / "drm" / "README.md").read_text(encoding="utf-8"), re.M)
    named = [(name, int(floor)) for floor, modules in rows for name in re.findall(r"`(\w+)`", modules)]
    assert len(named) == len(dict(named)), named
    return dict(named)


def layers() -> list[set[str]]:
    """Return the layers that import-linter checks, the highest first."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["importlinter:contract:floors"]["layers"].split("\n")
    return [set(re.findall(r"\w+", line)) for line in lines if line.strip()]


def test_the_map_names_what_there_is_and_nothing_else() -> None:
    there = {path.name for path in (ROOT / "drm").iterdir() if (path / "__init__.py").exists()}
    there |= {path.stem for path in (ROOT / "drm").glob("*.py")} - {"__init__", "__main__"}
    assert set(floors_of_the_map()) == there


def test_the_map_has_the_floors_that_are_checked() -> None:
    """import-linter's layers are finer than the floors: each is of one floor, and they go down."""
    floors = floors_of_the_map()
    checked = layers()
    assert set.union(*checked) == {*floors, "__main__"}
    by_layer = [{floors[name] for name in layer - {"__main__"}} for layer in checked]
    steps = [floor for found in by_layer for floor in sorted(found)]
    assert steps == sorted(steps, reverse=True), [sorted(layer) for layer in checked]


# -- doors


@pytest.fixture(scope="module")
def modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.walk_packages(drm.__path__, "drm.")]
    return [importlib.import_module(name) for name in names if not name.endswith(".__main__")]


def is_described(value: object) -> bool:
    """Tell whether a class or function says what it is: what dataclasses write by themselves does not count."""
    if not inspect.isclass(value) and not inspect.isroutine(value):
        return True  # a comment beside it does
    return bool(value.__doc__) and not value.__doc__.startswith(f"{value.__name__}(")


def test_every_module_says_what_it_is_for(modules: list[ModuleType]) -> None:
    assert [module.__name__ for module in modules if not module.__doc__] == []


def test_every_listed_name_exists_and_is_described(modules: list[ModuleType]) -> None:
    listed = [(module, name) for module in modules for name in getattr(module, "__all__", ())]
    assert len(listed) > 100
    assert [f"{module.__name__}.{name}" for module, name in listed if not hasattr(module, name)] == []
    silent = [f"{module.__name__}.{name}" for module, name in listed if not is_described(getattr(module, name))]
    assert silent == []


def test_a_package_lists_its_doors() -> None:
    """A package that holds more than its docstring has ``__all__``; in the others, the modules are the doors."""
    packages = [path for path in MODULES if path.name == "__init__.py"]
    code = {path: ast.parse(path.read_text(encoding="utf-8")).body for path in packages}
    unlisted = [
        path.relative_to(ROOT).as_posix()
        for path, statements in code.items()
        if len(statements) > 1 and not any(ast.unparse(each).startswith("__all__ = ") for each in statements)
    ]
    assert unlisted == []
