"""``drm ci init``: gives a project its CI file, and a noxfile where it has none."""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drm.ci_commands import git
from drm.ci_commands.lines import say
from drm.ci_commands.requirement import is_of_this_machine, requirement_of_this_drm
from drm.cicd_integration.project import Project, component_names, project_of
from drm.cicd_integration.project_files import READ
from drm.cicd_integration.rendering import NOXFILE_MARK, PROVIDERS, Pipeline, Provider, render, render_noxfile
from drm.model.errors import ConfigError
from drm.reporting.files import write_atomic

__all__ = ["add_to"]

_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "venv", "build", "dist", "site-packages"})
_MOST_FILES = 20_000
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")
_PYTHON = re.compile(r"3\.\d{1,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    text: str


def add_to(commands: Any) -> None:
    """Add the command to those of ``drm ci``."""
    parser = commands.add_parser(
        "init",
        help="write the file that runs the stages on GitHub Actions, GitLab CI or Jenkins, and a noxfile",
        epilog="exit codes: 0: all is there; 4: a file is there already and differs, or cannot be read or written",
    )
    parser.add_argument("provider", choices=sorted(PROVIDERS), help="the CI system")
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="the project (default: this folder)")
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.add_argument("--components", metavar="A,B", help="that the unit stage is split over (default: its folders)")
    parser.add_argument("--branch", metavar="NAME", help="the default branch (default: as git knows it)")
    parser.add_argument(
        "--python", default=f"3.{sys.version_info.minor}", metavar="3.X", help="that jobs run (default: this one)"
    )
    parser.add_argument("--drm", metavar="REQUIREMENT", help="for pip (default: from where this one was installed)")
    parser.set_defaults(call=_init)


def _init(options: argparse.Namespace) -> int:
    folder, provider = options.folder, PROVIDERS[options.provider]
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder", remedy="name the folder of the project")
    project = _project(folder, options.components)
    pipeline = Pipeline(
        components=project.components,
        stages=project.stages,
        branch=_matching(_BRANCH, options.branch or _default_branch(folder), "--branch"),
        python=_matching(_PYTHON, options.python, "--python"),
    )
    files = [_File(path=folder / provider.target, text=render(provider.name, pipeline))]
    if provider.name == "gitlab":
        files += _including(folder / ".gitlab-ci.yml", provider)
    kept = [file for file in files if file.path.exists() and not _same(file)]
    if kept and not options.force:
        names = ", ".join(str(file.path) for file in kept)
        raise ConfigError(f"{names}: is there already, and nothing was written", remedy="--force writes over it")
    requirement = options.drm or requirement_of_this_drm()
    noxfile = _File(path=folder / "noxfile.py", text=render_noxfile(project, requirement=requirement))
    for file in files:
        _write(file)
    if _write_noxfile(noxfile, force=options.force) and is_of_this_machine(requirement):
        say(f"noxfile.py has DRM from {requirement}: no other machine can install that; before you push, give --drm")
    _explain(project, folder)
    return 0


def _project(folder: Path, components: str | None) -> Project:
    files = _listing(folder)
    texts: dict[str, str] = {}
    for name in READ:
        if name in files:
            try:
                texts[name] = (folder / name).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ConfigError(f"{folder / name}: cannot be read ({error})", remedy="correct the file") from error
    return project_of(files, texts, components=None if components is None else component_names(components))


def _listing(folder: Path) -> list[str]:
    """Return the project's files, relative; what git ignores and hidden folders hold no tests."""
    listed = git.ask(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is not None:
        return sorted(name for name in listed.split("\0") if name and (folder / name).exists())
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS)
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in names]
        if len(found) > _MOST_FILES:
            break
    return sorted(found)


def _default_branch(folder: Path) -> str:
    remote = (git.ask(folder, "symbolic-ref", "--short", "refs/remotes/origin/HEAD") or "").strip()
    if remote:
        return remote.removeprefix("origin/")
    known = (git.ask(folder, "branch", "--format=%(refname:short)") or "").split()
    current = (git.ask(folder, "symbolic-ref", "--short", "HEAD") or "").strip()
    return next((name for name in ("main", "master") if name in known), current or "main")


def _matching(pattern: re.Pattern[str], value: str, name: str) -> str:
    if not pattern.fullmatch(value):
        raise ConfigError(f"{name}: {value!r} cannot be one", remedy="give another")
    return value


def _including(path: Path, provider: Provider) -> list[_File]:
    """Return ``.gitlab-ci.yml`` with the line that includes ours; nothing where it has that already."""
    line = f"include:\n  - local: {provider.target}\n"
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})", remedy="correct the file") from error
    if provider.target in old:
        return []
    if re.search(r"^include\s*:", old, re.MULTILINE):
        raise ConfigError(f"{path}: has an include: already", remedy=f"add '- local: {provider.target}' to it first")
    return [_File(path=path, text=f"{old.rstrip()}\n\n{line}" if old.strip() else line)]


def _same(file: _File) -> bool:
    try:
        return file.path.read_text(encoding="utf-8") == file.text
    except (OSError, ValueError):
        return False


def _write(file: _File) -> None:
    if _same(file):
        say(f"{file.path}: is as it should be")
        return
    write_atomic(file.path, file.text)
    say(f"{file.path}: written")


def _write_noxfile(file: _File, *, force: bool) -> bool:
    """Write the noxfile where there is none; tell whether. One that somebody else wrote is never written over."""
    try:
        old = file.path.read_text(encoding="utf-8", errors="replace") if file.path.exists() else ""
    except OSError as error:
        raise ConfigError(f"{file.path}: cannot be read ({error})", remedy="see to its permissions") from error
    if not old or (force and NOXFILE_MARK in old) or old == file.text:
        _write(file)
        return True
    why = "--force writes a new one" if NOXFILE_MARK in old else "it must have the sessions that the CI file calls"
    say(f"{file.path}: is there already and was kept; {why}")
    return False


def _explain(project: Project, folder: Path) -> None:
    for stage in project.stages:
        there = ["this folder" if path == "." else path for path in stage.paths if (folder / path).is_dir()]
        say(f"{stage.name}: {', '.join(there) or f'skipped until there is {stage.paths[0]}/'}")
    if not any(path == "." or (folder / path).is_dir() for stage in project.stages for path in stage.paths):
        say(f"no test was found; files of tests are called {' or '.join(project.patterns)} (pytest's python_files)")
    say(f"components: {', '.join(project.components) or 'the unit stage is not split'}")
    say(f"installed for the tests: {' '.join(project.install) or 'nothing but DRM'} (PROJECT in noxfile.py)")
    say("git should ignore .nox/, .venv-ci/, reports/ and .github/badges/")
    say("`drm ci run` does here what the jobs do there")
