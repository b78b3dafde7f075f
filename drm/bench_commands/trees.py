"""Two versions of a project side by side, as git worktrees in a folder that goes away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drm.ci_commands.git import answer, ask
from drm.model.errors import ConfigError

__all__ = ["Tree", "two_trees"]

_WHAT = "drm bench compare"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """``name``: as it was asked for. ``folder``: the place in it that answers to where the command was given."""

    name: str
    commit: str
    folder: Path


@contextmanager
def two_trees(here: Path, base: str, head: str | None) -> Iterator[tuple[Tree, Tree]]:
    """Yield the two versions, checked out; nothing of them is left afterwards, whatever happens.

    ``head`` None: the working tree as it is, changes to tracked files included. ConfigError for what is no commit.
    """
    prefix = answer(here, "rev-parse", "--show-prefix", what=_WHAT).strip()
    commits = (_commit(here, base), _commit(here, head) if head is not None else _present(here))
    names = (base, head if head is not None else "working tree")
    with tempfile.TemporaryDirectory(prefix="drm-bench-") as kept:
        made: list[Path] = []
        try:
            for label, commit in zip(("base", "head"), commits, strict=True):
                place = Path(kept) / label
                made.append(place)
                answer(here, "worktree", "add", "--detach", "--quiet", str(place), commit, what=_WHAT)
            trees = [
                Tree(name=name, commit=commit, folder=place / prefix)
                for name, commit, place in zip(names, commits, made, strict=True)
            ]
            yield trees[0], trees[1]
        finally:
            for place in made:
                ask(here, "worktree", "remove", "--force", str(place))
            ask(here, "worktree", "prune")


def _commit(here: Path, name: str) -> str:
    found = ask(here, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if found is None:
        raise ConfigError(f"{_WHAT}: {name!r} is no commit here", remedy="give a branch, a tag or a hash")
    return found.strip()


def _present(here: Path) -> str:
    """Return a commit of the working tree as it is: one that no branch knows, or HEAD where nothing is changed."""
    name = ("-c", "user.name=drm", "-c", "user.email=drm@localhost")
    changed = answer(here, *name, "stash", "create", what=_WHAT).strip()
    return changed or _commit(here, "HEAD")
