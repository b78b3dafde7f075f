"""The [drm] section of a project's configuration file."""

from __future__ import annotations

import configparser
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drm.model.errors import ConfigError
from drm.model.markers import check_key, parse_counted, parse_defaults

_REQUIREMENTS = ("cpu", "memory", "gpu", "timeout")
_OPTIONS = (
    *("executors", "workers", "worker_type", "cpus", "machine_memory", "gpus", "order", "start", "quarantine"),
    *("retries", "timeout_factor", "scaling", "speculate", "reserve", "value_of_time", "lost_after"),
    *("provider", "budget", "lease", "no_capacity", "on_demand_floor", "creates_per_minute"),
    *("bundle_exclude", "bundle_limit"),
)
_PATTERNS = ("quarantine", "bundle_exclude")  # words; in a list of TOML each may have spaces of its own
_PROVIDERS = ("docker", "kubernetes", "aws", "gcp")  # each may have a table, or a section, of its own
_COUNTED = "resources"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """``requirements``: defaults for tests without a marker (parsed); ``options``: defaults of --drm-... options.

    ``patterns``: of tests in quarantine, and of files that are not sent to machines.
    ``counted``: resources of the whole run that tests may ask for, and how many there are of each.
    ``providers``: what is set for each of them, as text. ``where`` names the file and section they are from.
    """

    where: str = ""
    requirements: dict[str, Any] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    patterns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    providers: dict[str, dict[str, str]] = field(default_factory=dict)


def read_settings(rootdir: Path) -> ProjectSettings:
    """Read [drm] from pytest.ini, pyproject.toml ([tool.drm]) or setup.cfg: the first file that has it.

    ConfigError for a file that cannot be parsed or a key that is none of ours.
    """
    for name in ("pytest.ini", "pyproject.toml", "setup.cfg"):
        path = rootdir / name
        section = _section(path) if path.is_file() else None
        if section is None:
            continue
        where = f"{name} [{'tool.drm' if path.suffix == '.toml' else 'drm'}]"
        providers = {key: section.pop(key) for key in _PROVIDERS if isinstance(section.get(key), dict)}
        for key in section:
            check_key(key, (*_REQUIREMENTS, _COUNTED, *_OPTIONS), where=where)
        return ProjectSettings(
            where=where,
            requirements=parse_defaults(section, where=where),
            options={key: _text(section[key]) for key in _OPTIONS if key in section and key not in _PATTERNS},
            patterns={key: _words(section[key]) for key in _PATTERNS if key in section},
            counted=parse_counted(section.get(_COUNTED, {}), where=f"{where}: {_COUNTED}"),
            providers={key: {each: _text(table[each]) for each in table} for key, table in providers.items()},
        )
    return ProjectSettings()


def _text(value: Any) -> str:
    """Return a value as it is written in an .ini file, where a list is words, and a table words with ``=``."""
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else tuple(_text(value).split())


def _section(path: Path) -> dict[str, Any] | None:
    try:
        if path.suffix == ".toml":
            tool = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
            section = tool.get("drm", {}) if isinstance(tool, dict) else tool
            if not isinstance(section, dict):
                raise ConfigError(f"{path.name}: [tool.drm] is {section!r}", remedy="make it a table of settings")
            return dict(section) or None
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(path.read_text(encoding="utf-8"))
        own = [name for name in _PROVIDERS if parser.has_section(f"drm:{name}")]
        if not parser.has_section("drm") and not own:
            return None
        given = dict(parser["drm"]) if parser.has_section("drm") else {}
        return {**given, **{name: dict(parser[f"drm:{name}"]) for name in own}}
    except (ValueError, RecursionError, configparser.Error) as error:
        first = f"{error}\n".splitlines()[0]
        raise ConfigError(f"{path.name} cannot be read: {first}", remedy="correct the file") from error
