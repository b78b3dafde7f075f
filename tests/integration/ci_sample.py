"""A small project that ``drm ci init`` has given its CI file and noxfile, and the programs that run pipelines of it.

It has a test or two per stage, so that a whole pipeline takes a minute; DRM comes from a wheel of this checkout. The
programs are installed where they are missing, once per machine; what cannot be installed is a skipped test that says
why.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(tempfile.gettempdir()) / f"drm-ci-tools-{os.getuid()}"
INSTALL_TIMEOUT_S, PIPELINE_TIMEOUT_S = 300, 400
COMPONENTS = ("api", "store", "other")
STAGE_TESTS = {
    "unit": "tests/unit/api/test_api.py",
    "integration": "tests/integration/test_together.py",
    "performance": "benchmarks/bench_store.py",
    "e2e": "tests/e2e/test_workflow.py",
    "distributed": "tests/distributed/test_workers.py",
}
PASSING = "import shop\n\n\ndef test_it_works():\n    assert shop.total([1, 2]) == 3\n"
FAILING = "def test_it_breaks():\n    assert 1 == 2\n"
FILES = {
    "tests/unit/store/test_store.py": PASSING,
    "tests/unit/test_rest.py": PASSING,
    "shop.py": "def total(prices):\n    return sum(prices)\n",
    "pytest.ini": "[pytest]\npython_files = test_*.py bench_*.py\npythonpath = .\n",
    ".gitignore": "/.nox/\n/.venv-ci/\n/reports/\n/.github/badges/\n__pycache__/\n",
}


def make_sample(folder: Path, provider: str, *, failing: str = "", drm: Path | None = None, extra: str = "") -> Path:
    """Make the project in ``folder``, committed to a git repository of its own; the stage ``failing`` fails.

    ``drm``: the wheel. ``extra``: is added to ``.gitlab-ci.yml``.
    """
    files = FILES | {STAGE_TESTS[stage]: FAILING if stage == failing else PASSING for stage in STAGE_TESTS}
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    git = ("git", "-C", str(folder), "-c", "user.name=sample", "-c", "user.email=sample@example.com")
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True, timeout=60)
    requirement = ("--drm", f"drm-testing[badges,ci] @ {drm.as_uri()}") if drm else ()
    command = [sys.executable, "-m", "drm", "ci", "init", provider, *requirement]
    subprocess.run(command, cwd=folder, check=True, timeout=60, env=environment(), capture_output=True)
    if extra:
        with open(folder / ".gitlab-ci.yml", "a") as file:
            file.write(extra)
    for words in (
        ("add", "."),
        ("commit", "-q", "-m", "Sample"),
        ("remote", "add", "origin", "git@gitlab.example.com:team/sample.git"),
    ):
        subprocess.run([*git, *words], check=True, timeout=60)
    return folder


def build_wheel(folder: Path, *, changed_at: float | None = None) -> Path:
    """Build DRM as it is in this checkout, from a copy: a build leaves files where it runs.

    ``changed_at``: the time of change that all its files have.
    """
    source = folder / "source"
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "drm", source / "drm", ignore=shutil.ignore_patterns("__pycache__"))
    if changed_at is not None:
        for path in source.rglob("*"):
            os.utime(path, (changed_at, changed_at))
    backend = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", backend, str(folder)]
    subprocess.run(command, cwd=source, check=True, timeout=INSTALL_TIMEOUT_S, capture_output=True)
    return next(folder.glob("*.whl"))


def environment(**extra: str) -> dict[str, str]:
    """Return ours, less what says of another CI job or of the run that this test is part of."""
    theirs = ("CI", "GITHUB_", "GITLAB_", "JENKINS_", "BUILD_", "COVERAGE_", "NOX", "PYTEST_", "DRM_", "VIRTUAL_ENV")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(theirs)}, **extra}


def run(
    command: list[str], folder: Path, env: dict[str, str], log: Path, *, timeout_s: float = PIPELINE_TIMEOUT_S
) -> tuple[int, str]:
    """Run a pipeline; return its exit code and all that it printed, which is also in ``log``.

    One that takes too long is ended with all that it has started.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            said = log.read_text(errors="replace")
            raise AssertionError(f"did not end within {timeout_s:g} s:\n{said}") from None
    return process.returncode, log.read_text(errors="replace")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def left_out(reports: Path) -> set[str]:
    """Return the folders that say that they were left out because somebody asked for it."""
    told = {path.parent.name: read_json(path)["status"] for path in reports.glob("*/status.json")}
    return {name for name, status in told.items() if status == "left_out"}


def _try(*command: str, cwd: Path | None = None) -> str:
    """Run an installing command; return what went wrong, or nothing."""
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(
            command, cwd=cwd, env=environ, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
        )
    except FileNotFoundError:
        return f"{command[0]} is not there"
    except subprocess.TimeoutExpired:
        return f"{' '.join(command)} took longer than {INSTALL_TIMEOUT_S} s"
    except subprocess.CalledProcessError as error:
        said = ((error.stderr or error.stdout).strip().splitlines() or ["no word"])[-1]
        return f"{' '.join(command)} ended with {error.returncode}: {said}"
    return ""


@contextlib.contextmanager
def installing() -> Iterator[None]:
    """Let one test install at a time: what is there once serves all."""
    TOOLS.mkdir(mode=0o700, exist_ok=True)
    with open(TOOLS / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def need_debian(program: str, package: str) -> None:
    """Have a program of a Debian package, or skip the test."""
    if shutil.which(program):
        return
    install = ("apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-q", "-y", "--no-install-recommends", package)
    with installing():
        reason = _try(*install)
        if reason:  # lists of packages may be old, or not there
            _try("apt-get", "update", "-q")
            reason = _try(*install)
    if reason or not shutil.which(program):
        pytest.skip(f"{program} cannot be installed: {reason}")


@functools.cache
def npm_program(package: str, version: str, main: str) -> list[str]:
    """Return the command of a program from npm, under Node 22 (gitlab-ci-local crashes under Node 20)."""
    need_debian("npm", "npm")
    folder = TOOLS / package
    node, program = (folder / "node_modules" / name for name in ("node/bin/node", f"{package}/{main}"))
    with installing():
        if not (node.exists() and program.exists()):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "package.json").write_text('{"private": true}\n')
            install = ("npm", "install", "--no-audit", "--no-fund", "--no-save", "node@22", f"{package}@{version}")
            reason = _try(*install, cwd=folder)
            if reason or not (node.exists() and program.exists()):
                shutil.rmtree(folder, ignore_errors=True)
                pytest.skip(f"{package} cannot be installed: {reason or 'npm brought no program'}")
    return [str(node), str(program)]


def gitlab_ci_local() -> list[str]:
    need_debian("rsync", "rsync")
    return npm_program("gitlab-ci-local", "4", "dist/index.js")


def groovy_lint() -> list[str]:
    need_debian("java", "default-jre-headless")
    return npm_program("npm-groovy-lint", "18", "lib/index.js")


@functools.cache
def groovy() -> tuple[str, dict[str, str]]:
    """Return Groovy's command and what it needs in the environment."""
    need_debian("java", "default-jre-headless")
    need_debian("groovy", "groovy")
    java = shutil.which("java")
    assert java is not None
    return "groovy", {"JAVA_HOME": str(Path(java).resolve().parents[1])}
