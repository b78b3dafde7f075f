"""``drm ci publish``: pushes the badges to a branch of their own, where a README can show them."""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from drm.ci_commands.context import current_context
from drm.ci_commands.lines import say
from drm.ci_commands.tables import Paragraphs
from drm.model.errors import ConfigError, DrmError
from drm.reporting.text import one_line

__all__ = ["add_to"]

_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "DRM badges"), ("EMAIL", "drm-badges@localhost"))
}
# A push with GitHub's own token starts no workflow; the words are for any other token and system.
_MESSAGE = "Update the badges [skip ci]"
_TIMEOUT_S = 120
_MOST_BADGE_COMMITS = 20  # on top of the commit that was tested
_EPILOG = """\
exit codes: 0: pushed, or nothing to push; 4: not built from the default branch, no badges, or git refused

environment: DRM_BADGES_TOKEN or GITHUB_TOKEN: what git pushes with (default: as git is set up);
DRM_COMMIT_BADGES=true: as --commit
"""


def add_to(commands: Any) -> None:
    """Add the command to those of ``drm ci``."""
    parser = commands.add_parser(
        "publish", help="push the badges to a branch of their own", epilog=_EPILOG, formatter_class=Paragraphs
    )
    parser.add_argument(
        "--badges-dir", type=Path, default=Path(".github/badges"), metavar="DIR", help="default: .github/badges"
    )
    parser.add_argument(
        "--branch", default="badges", metavar="NAME", help="of one commit, without history (default: badges)"
    )
    parser.add_argument("--commit", action="store_true", help="also commit them to the default branch")
    parser.add_argument("--remote", default="origin", metavar="NAME", help="default: origin")
    parser.set_defaults(call=_publish)


def _publish(options: argparse.Namespace) -> int:
    context = current_context()
    if not context.is_default_branch:
        what = f"branch {context.branch}" if context.branch and not context.is_pr else "a request or tag"
        raise ConfigError(
            f"badges are those of the default branch, and this is {one_line(what)}",
            remedy="run it there; outside of CI, DRM_CI_DEFAULT_BRANCH names that branch",
        )
    branch = context.default_branch or ""
    if options.branch == branch:
        raise ConfigError("--branch: the default branch would lose its history", remedy="name another, or use --commit")
    files = sorted(options.badges_dir.glob("*.svg")) + sorted(options.badges_dir.glob("*.json"))
    if not files:
        raise ConfigError(f"{options.badges_dir}: there is no badge", remedy="run `drm badges` first")
    git = _Git(options.remote, os.environ)
    folder = _within_repository(git, options.badges_dir)
    if context.sha and not git.is_newest(context.sha, branch):
        say(f"{context.sha[:12]} is no longer the newest commit of {branch}, whose badges stay as they are")
        return 0
    git.push_alone(files, folder, options.branch)
    say(f"{len(files)} files pushed to the branch {options.branch}")
    if options.commit or os.environ.get("DRM_COMMIT_BADGES", "").lower() == "true":
        # Times and commits would make a commit of every run: they stay on the other branch.
        told = git.commit_onto([file for file in files if not file.name.endswith(".meta.json")], folder, branch)
        say(f"{told} the branch {branch}")
    return 0


def _within_repository(git: _Git, folder: Path) -> str:
    top = Path(git("rev-parse", "--show-toplevel").strip()).resolve()
    if not folder.resolve().is_relative_to(top):
        raise ConfigError(f"{folder}: is outside of the repository", remedy="name a folder in it")
    return folder.resolve().relative_to(top).as_posix()


class _Git:
    """Git in the working tree, with the token for pushing in the environment: not in a file, nor a command line."""

    def __init__(self, remote: str, environ: Mapping[str, str]) -> None:
        self._environ = {**environ, **_AUTHOR, "GIT_TERMINAL_PROMPT": "0"}
        self._cwd: Path | None = None
        self._url = self("remote", "get-url", remote).strip()
        token, url = environ.get("DRM_BADGES_TOKEN") or environ.get("GITHUB_TOKEN"), urlsplit(self._url)
        if token and url.scheme == "https":
            secret = base64.b64encode(f"x-access-token:{token}".encode()).decode()
            place = f"https://{url.hostname}{f':{url.port}' if url.port else ''}/"
            number = int(environ.get("GIT_CONFIG_COUNT") or 0)
            self._environ |= {
                "GIT_CONFIG_COUNT": str(number + 1),
                f"GIT_CONFIG_KEY_{number}": f"http.{place}.extraheader",
                f"GIT_CONFIG_VALUE_{number}": f"AUTHORIZATION: basic {secret}",
            }

    def __call__(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=self._cwd,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except OSError as error:
            raise ConfigError(f"git cannot be run ({error.strerror})", remedy="install it") from error
        except subprocess.TimeoutExpired as error:
            raise DrmError(f"git {arguments[0]}: no end within {_TIMEOUT_S} s", remedy="try again") from error
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            said = next((line for line in lines if line.startswith(("fatal", "error", "remote"))), "".join(lines[:1]))
            raise DrmError(
                f"git {arguments[0]}: {one_line(said or f'exit code {done.returncode}')}",
                remedy="pushing needs `contents: write`, and rules of the branch that allow it",
            )
        return done.stdout

    @contextmanager
    def _elsewhere(self) -> Iterator[Path]:
        """Work in a folder of its own: the working tree and its index stay as they are."""
        url = Path(self._url)
        self._url = str(url.resolve()) if url.exists() else self._url
        with tempfile.TemporaryDirectory(prefix="drm-badges-") as name:
            self._cwd = Path(name)
            try:
                yield self._cwd
            finally:
                self._cwd = None

    def is_newest(self, sha: str, branch: str) -> bool:
        """Tell whether the branch has no commit after this one, but for those of badges: of an old commit an earlier
        workflow may have been run again."""
        tip = self("ls-remote", self._url, f"refs/heads/{branch}").partition("\t")[0]
        if tip in ("", sha):
            return True
        with self._elsewhere():
            self("init", "--quiet")
            self("fetch", "--quiet", "--depth", str(_MOST_BADGE_COMMITS), self._url, f"refs/heads/{branch}")
            lines = (line.partition(" ") for line in self("log", "--format=%H %ae", "FETCH_HEAD").splitlines())
        return next((found for found, _, author in lines if author != _AUTHOR["GIT_AUTHOR_EMAIL"]), sha) == sha

    def push_alone(self, files: list[Path], folder: str, branch: str) -> None:
        """Push a commit without a parent that holds the files and nothing else, in place of the branch."""
        with self._elsewhere() as place:
            self("init", "--quiet")
            self._add(files, place, folder)
            self("commit", "--quiet", "--message", _MESSAGE)
            self("push", "--quiet", "--force", self._url, f"HEAD:refs/heads/{branch}")

    def commit_onto(self, files: list[Path], folder: str, branch: str) -> str:
        """Commit the files onto the newest state of the branch; nothing where they are as they were."""
        try:
            return self._commit_onto(files, folder, branch)
        except DrmError:  # somebody may have pushed in between
            return self._commit_onto(files, folder, branch)

    def _commit_onto(self, files: list[Path], folder: str, branch: str) -> str:
        with self._elsewhere() as place:
            self("clone", "--quiet", "--depth", "1", "--branch", branch, self._url, ".")
            self._add(files, place, folder)
            if not self("status", "--porcelain").strip():
                return "no badge has changed on"
            self("commit", "--quiet", "--message", _MESSAGE)
            self("push", "--quiet", self._url, f"HEAD:refs/heads/{branch}")
        return "committed to"

    def _add(self, files: list[Path], place: Path, folder: str) -> None:
        target = place / folder
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, target / file.name)
        self("add", "--force", folder)
