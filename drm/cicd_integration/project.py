"""What a project is to its CI files: the folders of its stages, its components, how it is installed. Pure."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from drm.cicd_integration.project_files import PytestFiles, ini_of, pytest_files_of, table_in, toml_of
from drm.model.errors import ConfigError
from drm.model.stages import STAGES, Stage

__all__ = ["OTHER", "REQUIREMENT", "Project", "component_names", "project_of"]

REQUIREMENT = "drm-testing[badges,ci]"
OTHER = "other"  # the component of a test that no component's folder holds
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,60}")
_ROOTS = ("tests", "test")
_MORE_FOLDERS = {"performance": ("benchmarks", "bench")}
_OPTIONS: dict[str, tuple[str, ...]] = {
    "performance": ("--drm-executors", "0"),  # what is measured has the machine to itself
    "distributed": ("--drm-workers", "2"),
}
_SUMMARIES = {
    "unit": "each component in isolation",
    "integration": "the components together",
    "performance": "benchmarks, with nothing else on the machine",
    "e2e": "the whole, from end to end",
    "distributed": "on separate workers",
}
_NEEDS = ("test", "tests", "testing", "dev")  # extras and dependency groups that hold what tests need; the first is it
_REQUIREMENTS = tuple(
    f"{folder}{name}.txt"
    for folder in ("", "requirements/")
    for name in (
        "requirements",
        "requirements-test",
        "requirements-dev",
        "test-requirements",
        "dev-requirements",
        "test",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """``stages``: those of the table, with this project's folders; ``components``: none, or two and more.

    ``install``: arguments of ``pip install``; ``patterns``: what files of tests are called.
    """

    patterns: tuple[str, ...] = PytestFiles().patterns
    stages: tuple[Stage, ...]
    components: tuple[str, ...] = ()
    install: tuple[str, ...] = ()

    @property
    def found(self) -> dict[str, tuple[str, ...]]:
        """The folders of each stage."""
        return {stage.name: stage.paths for stage in self.stages}


def project_of(files: Sequence[str], texts: Mapping[str, str], *, components: tuple[str, ...] | None = None) -> Project:
    """Return what the project's files say. ``files``: relative, with ``/``; ``texts``: of those in its root.

    ``components`` wins over what the folders of the unit stage say. ConfigError for a file that cannot be parsed.
    """
    named = pytest_files_of(texts)
    tests = [path for path in files if named.are(path)]
    folders = {stage.name: _folders(stage, tests) for stage in STAGES if stage.name != "unit"}
    taken = [folder for found in folders.values() for folder in found]
    rest = [path for path in tests if not any(_within(path, folder) for folder in taken)]
    rest = [path for path in rest if named.are_looked_for_at(path)]
    folders["unit"] = _unit_folders(rest)
    stages = tuple(
        replace(
            stage,
            summary=_SUMMARIES.get(stage.name, f"the {stage.name} tests"),
            paths=folders[stage.name] or _default(stage),
            options=_OPTIONS.get(stage.name, ()),
        )
        for stage in STAGES
    )
    found = _components(rest) if components is None else components
    return Project(stages=stages, components=found, install=_install(files, texts), patterns=named.patterns)


def component_names(text: str) -> tuple[str, ...]:
    """Return the names in ``a,b``, and one for all else; nothing for an empty text. ConfigError for an odd name."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"--components: {name!r} is no name of a component", remedy="letters, digits and _, as folders have it"
            )
    return (*names, *(() if OTHER in names else (OTHER,))) if names else ()


def _within(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _default(stage: Stage) -> tuple[str, ...]:
    return _MORE_FOLDERS.get(stage.name, (f"tests/{stage.name}",))[:1]


def _folders(stage: Stage, tests: Sequence[str]) -> tuple[str, ...]:
    """Return the folders in which a stage's tests are looked for, those that have any."""
    candidates = [f"{root}/{stage.name}" for root in _ROOTS] + list(_MORE_FOLDERS.get(stage.name, ()))
    return tuple(folder for folder in candidates if any(_within(path, folder) for path in tests))


def _unit_folders(tests: Sequence[str]) -> tuple[str, ...]:
    """Return ``tests/unit`` where all tests of no other stage lie there, else all of ``tests``; and the folders that
    hold tests beside it. Where some lie in the project's own folder, that is all: ``.``."""
    if any("/" not in path for path in tests):
        return (".",)
    found = []
    for root in dict.fromkeys((*_ROOTS, *sorted(path.partition("/")[0] for path in tests))):
        here = [path for path in tests if _within(path, root)]
        if here:
            own = f"{root}/unit"
            found.append(own if root in _ROOTS and all(_within(path, own) for path in here) else root)
    return tuple(found)


def _components(tests: Sequence[str]) -> tuple[str, ...]:
    """Return the folders in ``tests/unit`` or ``tests`` that hold tests, and one for all else; nothing for fewer than
    two."""
    names = set()
    for path in tests:
        root, *inner = PurePosixPath(path).parent.parts or ("",)
        inner = inner[1:] if inner[:1] == ["unit"] else inner
        if root in _ROOTS and inner and _NAME.fullmatch(inner[0]):
            names.add(inner[0])
    return (*sorted(names - {OTHER}), OTHER) if len(names) > 1 else ()


def _install(files: Sequence[str], texts: Mapping[str, str]) -> tuple[str, ...]:
    project = toml_of("pyproject.toml", texts["pyproject.toml"]) if "pyproject.toml" in texts else {}
    setup = (
        ini_of("setup.cfg", texts["setup.cfg"])
        if "setup.cfg" in texts
        else configparser.ConfigParser(interpolation=None)
    )
    arguments: list[str] = []
    if "project" in project or "build-system" in project or "setup.py" in files or setup.has_section("metadata"):
        declared = table_in(table_in(project, "project"), "optional-dependencies")
        section = "options.extras_require"
        extras = {*declared, *(setup.options(section) if setup.has_section(section) else ())}
        extra = next((name for name in _NEEDS if name in extras), None)
        arguments += ["-e", f".[{extra}]" if extra else "."]
    group = next((name for name in _NEEDS if name in table_in(project, "dependency-groups")), None)
    if group:
        arguments += ["--group", group]
    return (*arguments, *(word for name in _REQUIREMENTS if name in files for word in ("-r", name)))
