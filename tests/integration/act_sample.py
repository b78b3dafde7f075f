"""A small project with the workflow that ``drm ci init github`` gives it, and act to run that for real.

act runs the jobs on this machine, without containers. The actions, which would come from the network, are replaced by
those in ``act_actions/``, which really copy files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ci_sample
from ci_sample import FAILING, ROOT

ACTIONS = Path(__file__).parent / "act_actions"
SHIPPED = ROOT / "ci_templates" / "drm_github_workflow.yml"
WORKFLOW = ".github/workflows/drm_tests.yml"
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
TEST = "from sample.{0} import double\n\n\ndef test_{0}():\n    assert double(2) == 4\n"
FILES = {
    "pyproject.toml": '[project]\nname = "sample"\nversion = "1"\n\n[tool.setuptools]\npackages = ["sample"]\n',
    "sample/__init__.py": "",
    "sample/api.py": "def double(n):\n    return 2 * n\n",
    "sample/db.py": "def double(n):\n    return n + n\n",
    "tests/unit/api/test_api.py": TEST.format("api"),
    "tests/unit/db/test_db.py": TEST.format("db"),
    "tests/integration/test_together.py": TEST.format("api"),
    "tests/e2e/test_whole.py": TEST.format("db"),
    "tests/distributed/test_workers.py": TEST.format("db"),
}
GIT = ("git", "-c", "user.name=sample", "-c", "user.email=sample@example.com")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a workflow ended: act's exit code, the results of the jobs by name, and all that was printed."""

    code: int
    jobs: dict[str, str]
    log: str
    artifacts: Path
    remote: Path

    def report(self) -> dict[str, Any]:
        return self.json("drm-report/reports/report.json")

    def json(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file in the artifacts."""
        return json.loads((self.artifacts / name).read_text(encoding="utf-8"))

    def badge(self, name: str = "drm_status") -> str:
        """Return what the badge says that was pushed."""
        file = f"badges:.github/badges/{name}.json"
        return json.loads(git(self.remote, "show", file))["message"]


def git(folder: Path, *words: str) -> str:
    return subprocess.run([*GIT, *words], cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout


def make_sample(folder: Path, requirement: str, *, failing: str = "") -> Path:
    """Make the project of a user, with the workflow that it is given; the test file ``failing`` fails."""
    _write(folder, {**FILES, **({failing: FAILING} if failing else {})})
    git(folder, "init", "-q", "-b", "main")
    command = [sys.executable, "-m", "drm", "ci", "init", "github", "--drm", requirement]
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True, timeout=60)
    return _committed(folder)


def make_own(folder: Path) -> Path:
    """Make a project that has nothing but this project's workflow."""
    _write(folder, {WORKFLOW: SHIPPED.read_text(encoding="utf-8")})
    git(folder, "init", "-q", "-b", "main")
    return _committed(folder)


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _committed(folder: Path) -> Path:
    """Commit all that is there, and make ``origin`` beside it."""
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Sample")
    git(folder, "clone", "-q", "--bare", ".", str(remote_of(folder)))
    return folder


def remote_of(project: Path) -> Path:
    return project.parent / "remote.git"


def environment(**extra: str) -> dict[str, str]:
    """Return ours, less what says of another CI job or of the run that this test is part of; ``drm`` is this one."""
    theirs = ("ACTIONS_", "RUNNER_", "PYTHON")
    ours = {name: value for name, value in ci_sample.environment().items() if not name.startswith(theirs)}
    return {**ours, **_pip_in_words_of_uv(), "PYTHONPATH": str(ROOT), **extra}


def _pip_in_words_of_uv() -> dict[str, str]:
    """Return the index and the certificates that pip is set to, as the noxfile does: uv reads no setting of pip."""
    pip = shutil.which("pip")
    if pip is None:
        return {}
    listed = subprocess.run([pip, "config", "list"], capture_output=True, text=True, check=False, timeout=60).stdout
    settings = dict(reversed(re.findall(r"\.([\w-]+)='(.*)'", listed)))
    words = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    return {word: settings[name] for name, word in words.items() if name in settings and word not in os.environ}


def uv_folder() -> Path:
    """Return the folder that holds uv and uvx."""
    import uv

    return Path(uv.find_uv_bin()).parent


def run_workflow(
    project: Path,
    event: str = "push",
    *,
    inputs: dict[str, Any] | None = None,
    uv: Path | None = None,
    variables: Sequence[str] = (),
) -> Ran:
    """Run the project's workflow with act. ``uv``: the folder whose ``uvx`` the jobs call. ``variables``: of the
    repository, ``NAME=VALUE``."""
    here = project.parent
    artifacts, cache = here / "artifacts", here / "cache"
    artifacts.mkdir()
    payload = {"repository": {"default_branch": "main"}, "inputs": inputs or {}}
    (here / "event.json").write_text(json.dumps(payload))
    stubs = {
        "STUB_REMOTE": str(remote_of(project)),
        "STUB_ARTIFACTS": str(artifacts),
        "STUB_CACHE": str(here / "caches"),
        "STUB_UV": str(uv or uv_folder()),
    }
    cached = subprocess.run(
        [uv_folder() / "uv", "cache", "dir"], capture_output=True, text=True, check=True, timeout=60
    )
    base = environment(XDG_CACHE_HOME=str(cache), UV_CACHE_DIR=cached.stdout.strip())
    base.pop("PYTHONPATH")  # what the jobs use is what they install
    command = [str(shutil.which("act", path=f"{Path(sys.executable).parent}{os.pathsep}{base.get('PATH', '')}")), event]
    command += ["--workflows", WORKFLOW, "--eventpath", str(here / "event.json"), "--json", "--action-offline-mode"]
    command += ["--platform", "ubuntu-24.04=-self-hosted", "--concurrent-jobs", "2", "--no-cache-server"]
    command += ["--no-skip-checkout"]
    for name, value in (inputs or {}).items():
        command += ["--input", f"{name}={json.dumps(value) if isinstance(value, bool) else value}"]
    for variable in variables:
        command += ["--var", variable]
    used = re.findall(r"uses: ([^/\s]+)/([^/@\s]+)\S*@(\w+)", (project / WORKFLOW).read_text())
    for owner, repository, commit in sorted(set(used)):
        command += ["--local-repository", f"{owner}/{repository}@{commit}={ACTIONS / repository}"]
    for name, value in {**stubs, **{name: base[name] for name in base if name.startswith(("UV_", "SSL_"))}}.items():
        command += ["--env", f"{name}={value}"]
    code, log = ci_sample.run(command, project, base, here / "act.log")
    jobs, text = _read(log)
    return Ran(code=code, jobs=jobs, log=text, artifacts=artifacts, remote=remote_of(project))


def _read(log: str) -> tuple[dict[str, str], str]:
    """Return the result of each job that ran, by its id and, of a matrix, its values; and what was printed."""
    found, lines = {}, []
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            lines.append(line)
            continue
        values = ",".join(map(str, (entry.get("matrix") or {}).values()))
        job = f"{entry.get('jobID', '')} {values}".strip()
        lines.append(f"[{job}] {_COLOURS.sub('', entry['msg']).rstrip()}")
        if "jobResult" in entry:
            found[job] = entry["jobResult"]
    return found, "\n".join(lines)
