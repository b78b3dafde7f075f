"""What a project's own configuration files say: as tables, and where pytest looks for tests. Pure."""

from __future__ import annotations

import configparser
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from drm.model.errors import ConfigError

__all__ = ["READ", "PytestFiles", "ini_of", "pytest_files_of", "table_in", "toml_of"]

# In pytest's order; the first that has its section counts.
_PYTEST = {
    "pytest.ini": ("pytest",),
    ".pytest.ini": ("pytest",),
    "pyproject.toml": ("tool", "pytest"),
    "tox.ini": ("pytest",),
    "setup.cfg": ("tool:pytest",),
}
READ = tuple(_PYTEST)  # the files that are looked at
_BENCHMARKS = "bench_*.py"  # pytest-benchmark's custom


@dataclass(frozen=True, slots=True, kw_only=True)
class PytestFiles:
    """``patterns``: what files of tests are called; ``folders``: where they are looked for (nothing: everywhere)."""

    patterns: tuple[str, ...] = ("test_*.py", "*_test.py", _BENCHMARKS)
    folders: tuple[str, ...] = ()

    def are(self, path: str) -> bool:
        """Tell whether the file is one of tests, wherever it is."""
        return path.endswith(".py") and any(fnmatchcase(PurePosixPath(path).name, each) for each in self.patterns)

    def are_looked_for_at(self, path: str) -> bool:
        roots = [PurePosixPath(folder) for folder in self.folders]
        return not roots or any(root in (PurePosixPath(path), *PurePosixPath(path).parents) for root in roots)


def pytest_files_of(texts: Mapping[str, str]) -> PytestFiles:
    """Return what pytest's settings in the project's files say. ConfigError for a file that cannot be parsed."""
    for name, where in _PYTEST.items():
        if name not in texts or where[-1] not in texts[name]:
            continue
        text, is_toml = texts[name], name.endswith(".toml")
        found: Mapping[str, Any] = toml_of(name, text) if is_toml else dict(ini_of(name, text))
        for part in where:
            found = table_in(found, part)
        found = {**found, **table_in(found, "ini_options")}
        if found or name.endswith("pytest.ini"):
            patterns = _words(found.get("python_files"))
            named = (*patterns, _BENCHMARKS) if patterns else PytestFiles().patterns
            return PytestFiles(patterns=tuple(dict.fromkeys(named)), folders=_words(found.get("testpaths")))
    return PytestFiles()


def _words(value: object) -> tuple[str, ...]:
    words: Sequence[object] = value if isinstance(value, list) else str(value or "").split()
    return tuple(str(word).rstrip("/") or "." for word in words)


def table_in(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table of a table; empty where there is none."""
    value = data.get(name, {})
    return value if isinstance(value, Mapping) else {}


def toml_of(name: str, text: str) -> dict[str, Any]:
    """Parse a file of TOML. ConfigError where it is none."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} cannot be read: {error}", remedy="correct the file") from error


def ini_of(name: str, text: str) -> configparser.ConfigParser:
    """Parse a file of sections. ConfigError where it is none."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"{name} cannot be read: {first}", remedy="correct the file") from error
    return parser
