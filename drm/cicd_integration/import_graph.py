"""Which file of a project depends on which, as far as the text of the files tells.

Files are paths relative to the top of the repository, with ``/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from drm.cicd_integration.python_imports import NOTHING, Facts

__all__ = ["ImportGraph", "folders_above"]


class ImportGraph:
    """``facts``: of every Python file. ``roots``: folders in which Python looks for modules.

    A file is also found by the name that it has below the topmost folder of its package, as pytest
    imports a test file. Where a name could be several files, it is all of them.
    """

    def __init__(self, facts: Mapping[str, Facts], roots: Iterable[str]) -> None:
        self._facts = facts
        self._roots = frozenset(roots)
        self._by_name: dict[str, set[str]] = {}
        for file in facts:
            for name in self._names_of(file):
                self._by_name.setdefault(name, set()).add(file)

    def imported_by(self, file: str) -> set[str]:
        """Return the project's files that importing this one may import, by its own text; not itself."""
        facts = self._facts.get(file, NOTHING)
        found = set(self._packages_above(file))
        for level, name in facts.imports:
            found.update(self._relative(file, level, name) if level else self._absolute(name))
        for package in facts.packages:
            found.update(self._absolute(package))
            found.update(*(files for name, files in self._by_name.items() if name.startswith(package + ".")))
        for name in facts.names & self._by_name.keys():
            found.update(self._absolute(name))
        for name in facts.run:
            found.update(self._absolute(f"{name}.__main__"))
        return found - {file}

    def package_of(self, file: str) -> str | None:
        """Return the ``__init__.py`` of the innermost package whose folder holds the file."""
        inits = (_join(folder, "__init__.py") for folder in reversed(folders_above(file)))
        return next((init for init in inits if init in self._facts), None)

    def _absolute(self, name: str) -> Iterator[str]:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):  # importing a.b.c runs a and a.b first
            yield from self._by_name.get(".".join(parts[:end]), ())

    def _relative(self, file: str, level: int, name: str) -> Iterator[str]:
        above = folders_above(file)
        if level > len(above):
            return
        place = above[-level]
        for part in ["", *name.split(".")] if name else [""]:
            place = _join(place, part)
            yield from (path for path in (f"{place}.py", _join(place, "__init__.py")) if path in self._facts)

    def _packages_above(self, file: str) -> Iterator[str]:
        for folder in reversed(folders_above(file)):
            init = _join(folder, "__init__.py")
            if init not in self._facts:
                return
            yield init

    def _names_of(self, file: str) -> set[str]:
        package_root = next(
            (folder for folder in reversed(folders_above(file)) if _join(folder, "__init__.py") not in self._facts), ""
        )
        return {
            name
            for root in (*self._roots, package_root)
            if (not root or file.startswith(root + "/")) and (name := _dotted(file[len(root) + 1 if root else 0 :]))
        }


def folders_above(file: str) -> list[str]:
    """Return the folders that hold the file, the outermost (``""``) first."""
    parents = [str(folder) for folder in PurePosixPath(file).parents]
    return ["" if folder == "." else folder for folder in reversed(parents)]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _dotted(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") if file.endswith(".py") else ""
