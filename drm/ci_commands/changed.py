"""``--changed-since``: what git says has changed, and which of the collected tests that may reach."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from drm.ci_commands import git
from drm.cicd_integration.changes import Reason, reach_of
from drm.cicd_integration.configuration import is_shared, matters
from drm.cicd_integration.discovery import FoundTest, Suite
from drm.cicd_integration.python_imports import Facts, facts_of
from drm.model.errors import ConfigError
from drm.model.units import shown

__all__ = ["Changed", "changed_since"]

_OPTION = "--changed-since"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The tests that a change may reach, with the reason of each by its id.

    ``base``: the commit compared with. ``without``: changed files that reach no test. ``outside``: how many tests
    lie in no file of the repository, and are left out.
    """

    base: str
    tests: tuple[FoundTest, ...]
    reasons: dict[str, Reason]
    files: tuple[str, ...]
    without: tuple[str, ...]
    outside: int


def changed_since(revision: str, suite: Suite) -> Changed:
    """Return what may be reached by what changed in the working tree since it left ``revision``.

    Changed: in commits, not committed, and new files that git does not ignore. ConfigError without a repository
    and for a revision that it does not have.
    """
    top = _top(Path(suite.rootdir))
    base = _base(top, revision)
    changed = _paths(top, "diff", "--name-only", "--no-renames", "--no-relative", "-z", base)
    # What Python, pytest and DRM write by themselves is no change, whether or not git is told to ignore it.
    own = [f"--exclude={name}" for name in ("__pycache__/", ".pytest_cache/", ".drm/")]
    changed |= _paths(top, "ls-files", "--others", "--exclude-standard", *own, "-z")
    places = {path: _relative(path, top) for path in {test.path for test in suite.tests}}
    reach = reach_of(
        changed,
        (file for file in places.values() if file),
        _facts(top) if changed else {},
        _roots(suite, top),
        harmless={file for file in changed if _is_harmless(top, base, file)},
    )
    reasons = {
        test.task_id: reach.reasons[file]
        for test in suite.tests
        if (file := places[test.path]) is not None and file in reach.reasons
    }
    return Changed(
        base=base,
        tests=tuple(test for test in suite.tests if test.task_id in reasons),
        reasons=reasons,
        files=tuple(sorted(changed)),
        without=reach.without,
        outside=sum(places[test.path] is None for test in suite.tests),
    )


def _top(rootdir: Path) -> Path:
    return Path(git.answer(rootdir, "rev-parse", "--show-toplevel", what=_OPTION).rstrip("\n"))


def _base(top: Path, revision: str) -> str:
    """Return the commit at which the work here left the revision."""
    commit = git.ask(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise ConfigError(
            f"{_OPTION}: git has no commit {shown(revision)} here",
            remedy="check the name; in CI fetch the whole history (GitHub: fetch-depth: 0, GitLab: GIT_DEPTH: 0)",
        )
    base = git.ask(top, "merge-base", commit.strip(), "HEAD")
    if base is None:
        raise ConfigError(
            f"{_OPTION}: {shown(revision)} and HEAD have no commit in common here",
            remedy="in CI fetch the whole history (GitHub: fetch-depth: 0, GitLab: GIT_DEPTH: 0)",
        )
    return base.split()[0]


def _paths(top: Path, *arguments: str) -> set[str]:
    return set(filter(None, git.answer(top, *arguments, what=_OPTION).split("\0")))


def _is_harmless(top: Path, base: str, file: str) -> bool:
    """Tell whether it is a file of configuration in which nothing has changed that tests are run with."""
    name = file.rpartition("/")[2]
    if not is_shared(name):
        return False
    try:
        after: str | None = (top / file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        after = None
    return not matters(name, git.ask(top, "show", f"{base}:{file}"), after)


def _facts(top: Path) -> dict[str, Facts]:
    """Return the facts of every Python file that git knows or could add; those that cannot be read have none."""
    facts = {}
    for file in _paths(top, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.py"):
        try:
            facts[file] = facts_of((top / file).read_bytes())
        except OSError:
            continue  # deleted and not committed, or a link to nowhere
    return facts


def _roots(suite: Suite, top: Path) -> set[str]:
    """Return the folders of the repository in which Python looks for modules: an installed project's too."""
    there = {_relative(entry, top) for entry in suite.import_paths if entry}
    return {root for root in there if root is not None} | {"", "src"}


def _relative(path: str, top: Path) -> str | None:
    """Return the path as git has it, from the top of the repository; None if it lies elsewhere."""
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(top))
    if relative == ".":
        return ""
    return None if relative.split(os.sep)[0] == ".." else relative.replace(os.sep, "/")
