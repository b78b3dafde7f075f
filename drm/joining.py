"""Whether a machine fits those it joins: what it says of itself against what is needed. Pure but for the two readers.

Python, Ray and drm have to be the same to the patch: nodes exchange pickles. Packages are those that the collected
suite has imported. A clock that is off is only said: nothing is decided by a worker's clock.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from drm.model.errors import ConfigError

__all__ = ["MachineFacts", "clock_line", "installed_packages", "join_problems", "needed_packages", "package_problems"]

_CLOCK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What a machine says of itself. ``ray`` is empty where there is none; ``at``: its time of day, in seconds."""

    name: str
    python: str
    ray: str
    drm: str
    at: float
    system: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def here(cls, name: str, drm_version: str) -> MachineFacts:
        return cls(
            name=name,
            python=platform.python_version(),
            ray=_version("ray"),
            drm=drm_version,
            at=datetime.now(UTC).timestamp(),
            system=f"{platform.system()}-{platform.machine()}",
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MachineFacts:
        """Read what another machine said; ConfigError where it is something else."""
        try:
            texts = {key: str(data[key]) for key in ("name", "python", "ray", "drm", "system")}
            return cls(**texts, at=float(data["at"]), more=dict(data.get("more") or {}))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"a machine did not say what it is ({error})", remedy="install the same drm on it"
            ) from None


def join_problems(here: MachineFacts, there: MachineFacts, names: Iterable[str] = ()) -> list[str]:
    """Return a line for each reason why the machine ``there`` cannot join. ``names``: those of workers that are in."""
    problems = []
    if there.name in names:
        problems.append(f"a worker called {there.name!r} has joined already; give this one another name (--name)")
    for what, ours, theirs, remedy in (
        ("Python", here.python, there.python, f"run drm worker with Python {here.python}"),
        ("Ray", here.ray, there.ray, f"pip install 'ray=={here.ray}'"),
        ("drm", here.drm, there.drm, f"pip install 'drm-testing=={here.drm}'"),
    ):
        if ours != theirs:
            problems.append(
                f"{there.name} has {what} {theirs or '(none)'}, the coordinator {ours or '(none)'}; {remedy}"
            )
    if here.system != there.system:
        problems.append(
            f"{there.name} is {there.system}, the coordinator {here.system}; join machines of one kind to a cluster"
        )
    return problems


def clock_line(here_at: float, there: MachineFacts) -> str:
    """Return a line where the clock of a machine is off by more than a minute, else an empty string."""
    off_s = there.at - here_at
    if abs(off_s) <= _CLOCK_S:
        return ""
    return (
        f"the clock of {there.name} is {abs(off_s) / 60:.0f} min {'fast' if off_s > 0 else 'slow'}; nothing is decided "
        "by it, but what its tests print and write will show it: set it (chronyc makestep)"
    )


def needed_packages(loaded: Iterable[str], root: Path) -> dict[str, str]:
    """Return name and version of each installed distribution that modules in ``loaded`` come from.

    ``loaded``: names of modules, as in ``sys.modules``, after the suite was collected. What lies below ``root`` is not
    needed: it is sent.
    """
    tops = {name.partition(".")[0] for name in loaded}
    needed = {}
    for top, distributions in metadata.packages_distributions().items():
        if top not in tops or _is_below(top, root):
            continue
        for name in distributions:
            needed[_normal(name)] = _version(name)
    return dict(sorted(needed.items()))


def installed_packages() -> dict[str, str]:
    """Return name and version of each installed distribution."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(_normal(name), distribution.version)  # the first on sys.path is the one imported
    return found


def package_problems(worker: str, needed: Mapping[str, str], installed: Mapping[str, str]) -> list[str]:
    """Return a line for each package that a worker lacks or has in another version."""
    problems = []
    for name, version in needed.items():
        theirs = installed.get(name)
        if theirs is None:
            problems.append(f"{worker} lacks {name} {version}, which the tests import; pip install '{name}=={version}'")
        elif theirs != version:
            problems.append(f"{worker} has {name} {theirs}, and {version} is needed; pip install '{name}=={version}'")
    return problems


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _is_below(top: str, root: Path) -> bool:
    file = getattr(sys.modules.get(top), "__file__", None)
    # A virtual environment within the project is not sent.
    return bool(file) and Path(str(file)).is_relative_to(root) and "site-packages" not in Path(str(file)).parts
