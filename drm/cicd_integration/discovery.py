"""The tests of a suite as pytest collected them, sorted into stages and components."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from drm.model.errors import ConfigError
from drm.model.resources import Requirements
from drm.model.stages import COMPONENTS, STAGES, component_of

__all__ = ["OTHER", "CollectionError", "FoundTest", "Suite", "chosen", "component", "stage"]

OTHER = "other"  # the stage, and the component, of a test that lies in the folders of none
_ROUTINE = frozenset({"tests", "test", "testing", "src", *(stage.name for stage in STAGES)})


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTest:
    """One collected test. ``task_id``: its nodeid, unique. ``file``: as the nodeid has it; ``path``: absolute.

    ``fixtures`` and ``marks`` are names; ``line`` counts from 1.
    """

    task_id: str
    file: str
    path: str
    line: int | None = None
    fixtures: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    stage: str = OTHER
    component: str = OTHER
    requirements: Requirements = field(default_factory=Requirements)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionError:
    """What could not be collected, and why, each in a few words as pytest has them."""

    where: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """All that was collected. ``counted``: resources of the run that the project declares; ``exit_code``: pytest's.

    ``import_paths``: the folders in which Python looked for modules at the end of the collection.
    """

    rootdir: str
    tests: tuple[FoundTest, ...] = ()
    errors: tuple[CollectionError, ...] = ()
    deselected: int = 0
    exit_code: int = 0
    import_paths: tuple[str, ...] = ()
    counted: tuple[tuple[str, int], ...] = ()


def stage(file: str) -> str:
    """Return the first stage of the table whose folders hold the file, or one of whose name does; else ``other``."""
    folders = PurePosixPath(file).parent.parts
    for row in STAGES:
        if any(folders[: len(parts)] == parts for parts in (PurePosixPath(path).parts for path in row.paths)):
            return row.name
    return next((row.name for row in STAGES if row.name in folders), OTHER)


def component(file: str, *, has_table: bool) -> str:
    """Return the component of a test file: from the table for the project that has it, else its folder.

    The folder without those of every project (``tests``, ``src``, the stages' names), at most two deep.
    """
    if has_table:
        return component_of(file)
    folders = [name for name in PurePosixPath(file).parent.parts if name not in _ROUTINE and name not in ("/", "..")]
    return "/".join(folders[-2:] if file.startswith(("/", "..")) else folders[:2]) or OTHER


def chosen(
    tests: Sequence[FoundTest], *, components: Iterable[str] = (), stages: Iterable[str] = ()
) -> tuple[FoundTest, ...]:
    """Return the tests of these components and stages (none named: all of them).

    ``a`` also names the components ``a/b``. ConfigError for a name that there is not.
    """
    there_are = {test.component for test in tests} | {row.slug for row in COMPONENTS}
    there_are |= {name.partition("/")[0] for name in there_are}
    wanted = [_known(name, there_are, "component") for name in components]
    of_stages = [_known(name, {OTHER, *(row.name for row in STAGES)}, "stage") for name in stages]
    return tuple(
        test
        for test in tests
        if (not wanted or any(test.component == name or test.component.startswith(name + "/") for name in wanted))
        and (not of_stages or test.stage in of_stages)
    )


def _known(name: str, names: set[str], what: str) -> str:
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    known = ", ".join(sorted(names)[:12])
    raise ConfigError(
        f"--{what}: there is no {what} {name!r}",
        remedy=f"did you mean {close[0]!r}?" if close else f"there are {known}",
    )
