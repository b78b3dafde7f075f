"""Every task of this project is a session: bare `nox` runs lint, types, the five stages, report and badges.

After `--` a stage takes component names (`nox -s unit -- resource_optimizer`), then `--quick`
(shorter benchmarks, less load in the workflow), then any options of pytest (`nox -s unit -- -k optimizer -x`).
Each stage writes reports/<stage>/, or reports/<stage>-<component>/ for one component;
`report` and `badges` work from what is there, failed stages included.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import nox

ROOT = Path(__file__).resolve().parent
REPORTS = ROOT / "reports"
PYTHONS = ("3.11", "3.12", "3.13")
STATUS_VERSION = 1


def load_table() -> ModuleType:
    """Load the table of stages by its path: drm is not installed where nox runs."""
    spec = importlib.util.spec_from_file_location("drm_stages", ROOT / "drm" / "model" / "stages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    spec.loader.exec_module(module)
    return module


table = load_table()
SLUGS = tuple(component.slug for component in table.COMPONENTS)

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"  # a missing Python is skipped and said so, never fetched unasked
nox.options.sessions = ["lint", "types", *(stage.name for stage in table.STAGES), "report", "badges"]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What was given after ``--``."""

    components: tuple[str, ...]
    quick: bool
    pytest: tuple[str, ...]


def arguments(session: nox.Session) -> Arguments:
    """Return the session's arguments: component names first; from the first option on, all is pytest's.

    Every session asks, used or not: nox gives the same ones to all, and a wrong one is wrong everywhere.
    """
    given = [argument for argument in session.posargs if argument != "--quick"]
    names = list(given)
    for index, argument in enumerate(given):
        if argument.startswith("-"):
            names = given[:index]
            break
    for name in names:
        if name not in SLUGS:
            session.error(
                f"unknown session argument {name!r}; valid are {', '.join(SLUGS)}, --quick, then options of pytest"
            )
    quick = "--quick" in session.posargs or os.environ.get("CI", "").lower() == "true"
    return Arguments(tuple(names), quick, tuple(given[len(names) :]))


def chosen_paths(stage: Any, components: tuple[str, ...]) -> list[str]:
    """Return what pytest runs: the stage's folders, or those of its test files that belong to the components."""
    if not components:
        return list(stage.paths)
    files = (file for path in stage.paths for file in sorted(Path(path).rglob("*.py")))
    tests = (file.as_posix() for file in files if file.name.startswith(("test_", "bench_")))
    return [test for test in tests if table.component_of(test) in components]


def install(session: nox.Session, *extras: str) -> None:
    """Install this project with extras. One session at a time: the build writes into the checkout."""
    with open(ROOT / "setup.cfg", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        session.install("-e", f".[{','.join(extras)}]" if extras else ".", env=pip_settings())


def pip_settings() -> dict[str, str]:
    """Return the index and the certificates that pip is set to, in uv's words: uv reads no setting of pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings = dict(reversed(re.findall(r"\.([\w-]+)='(.*)'", listed)))  # the environment is listed first, and wins
    words = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    return {word: settings[name] for name, word in words.items() if name in settings and word not in os.environ}


@contextlib.contextmanager
def tee(path: Path) -> Iterator[IO[str]]:
    """Yield a stream that is shown and kept in a file."""
    read_end, write_end = os.pipe()

    def pump() -> None:
        failed = False
        with open(read_end, "rb", buffering=0) as source, open(path, "wb", buffering=0) as log:
            while chunk := source.read(65536):
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
                try:
                    if not failed:
                        log.write(chunk)
                except OSError as error:  # the stage goes on, and is still seen
                    failed = True
                    print(f"{path}: {error.strerror}; what follows is not kept", flush=True)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        with open(write_end, "w", encoding="utf-8") as sink:
            yield sink
    finally:
        thread.join(timeout=10)  # not for ever: a process left behind could hold the other end open


def forget(stage: str, components: tuple[str, ...]) -> None:
    """Remove what earlier runs of the stage left: no old result may pass for one of this run.

    A run of some components leaves what runs of others left: together they make the stage.
    """
    for folder in (REPORTS / stage, *REPORTS.glob(f"{stage}-*")):
        covered = folder.name.split("-")[1:]
        if not (components and covered) or set(components) & set(covered):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def recorded(folder: Path, stage: str, asked: Arguments) -> Iterator[None]:
    """Write the stage's status.json, whatever happens inside."""
    folder.mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC)
    status, exit_code, reason = "failed", None, ""
    try:
        yield
        status, exit_code = "passed", 0
    except BaseException as error:
        exit_code = getattr(error, "return_code", None)
        reason = str(error) or type(error).__name__
        raise
    finally:
        finished = datetime.now(UTC)
        record = {
            "schema_version": STATUS_VERSION,
            "stage": stage,
            "components": list(asked.components),
            "status": status,
            "exit_code": exit_code,
            "reason": reason,
            "started_at": started.isoformat(timespec="seconds"),
            "finished_at": finished.isoformat(timespec="seconds"),
            "duration_s": round((finished - started).total_seconds(), 3),
        }
        try:
            (folder / "status.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            print(f"{folder / 'status.json'}: {error.strerror}; the report will not know how {stage} ended", flush=True)


def run_stage(session: nox.Session, stage: Any) -> None:
    """Install the stage's extras and run its tests under ``drm run``, keeping all that a report needs."""
    asked = arguments(session)
    paths = chosen_paths(stage, asked.components)
    if not paths:
        session.skip(f"the {stage.name} stage has no test of {', '.join(asked.components)}")
    options = [*stage.options, *(["--quick"] if asked.quick and stage.can_be_quick else [])]
    name = "-".join((stage.name, *asked.components))
    folder = REPORTS / name
    forget(stage.name, asked.components)
    with recorded(folder, stage.name, asked):
        install(session, *stage.extras)
        with tee(folder / "stage.log") as output:
            session.run(
                "python",
                *(("-m", "coverage", "run") if stage.is_traced else ()),
                *("-m", "drm", "run", *paths, *options, "--drm-no-report"),
                *("--drm-report-dir", f"reports/{name}", f"--junitxml=reports/{name}/junit.xml"),
                *asked.pytest,
                env={"COVERAGE_FILE": str(folder / ".coverage"), "DRM_STAGE_FOLDER": str(folder)},
                stdout=output,
                interrupt_timeout=20,
                terminate_timeout=5,
            )


def add_stage(stage: Any) -> None:
    """Register the session of one stage."""

    def run(session: nox.Session) -> None:
        run_stage(session, stage)

    run.__doc__ = f"Stage: {stage.summary}."
    nox.session(run, name=stage.name, allow_parallel=stage.shares_machine)


@nox.session(allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Check style (ruff), the floors of the design (import-linter), unused code (vulture) and the CI templates."""
    arguments(session)
    install(session, "lint", "test")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("vulture")
    workflow = "ci_templates/drm_github_workflow.yml"
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow)
    tests = (f"tests/integration/test_ci_{name}.py" for name in ("templates", "gitlab", "jenkins"))
    session.run("python", "-m", "pytest", "-q", "-m", "not ci_templates", *tests)


@nox.session(allow_parallel=True)
def types(session: nox.Session) -> None:
    """Check the types of drm (mypy --strict)."""
    arguments(session)
    install(session, "types", "test")
    session.run("mypy", "--strict", "drm")


for _stage in table.STAGES:
    add_stage(_stage)


@nox.session
def report(session: nox.Session) -> None:
    """Combine coverage; write reports/report.html, .md and .json from the stages that have run."""
    arguments(session)
    install(session, "test")
    for old in (".coverage", "coverage.json", "coverage.xml"):
        (REPORTS / old).unlink(missing_ok=True)
    folders = sorted({str(file.parent) for file in REPORTS.glob("*/.coverage*")})
    if folders:
        coverage(session, "combine", "--keep", *folders)
        coverage(session, "json", "-o", "reports/coverage.json")
        coverage(session, "xml", "-o", "reports/coverage.xml")
    else:
        session.warn("no stage has left coverage data under reports/: the report goes without it")
    session.run("python", "-m", "drm", "report", "--reports-dir", "reports")


def coverage(session: nox.Session, command: str, *options: str) -> None:
    """Run a command of coverage over all stages. Damaged data costs the figure, not the report: 1 is no failure."""
    environment = {"COVERAGE_FILE": str(REPORTS / ".coverage")}
    session.run("python", "-m", "coverage", command, "--quiet", *options, env=environment, success_codes=(0, 1))


@nox.session
def badges(session: nox.Session) -> None:
    """Write the SVG and shields badges of the stages and components to .github/badges/."""
    arguments(session)
    install(session, "badges")
    session.run("python", "-m", "drm", "badges", "--reports-dir", "reports", "--output-dir", ".github/badges")


@nox.session(default=False)
def status(session: nox.Session) -> None:
    """Tell the CI provider how the run came out (drm ci status); takes its options after --, such as --publish."""
    install(session, "ci")
    session.run("python", "-m", "drm", "ci", "status", "--reports-dir", "reports", *session.posargs)


@nox.session(default=False)
def publish(session: nox.Session) -> None:
    """Push the badges to a branch of their own (drm ci publish); takes its options after --."""
    install(session)
    session.run("python", "-m", "drm", "ci", "publish", *session.posargs)


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Look up what all extras install among the known vulnerabilities (pip-audit); needs the network."""
    arguments(session)
    install(session, "gpu", "ray", "test")
    names = "sorted({f'{d.name}=={d.version}' for d in importlib.metadata.distributions() if d.name != 'drm-testing'})"
    listed = session.run("python", "-c", f"import importlib.metadata; print(*{names}, sep='\\n')", silent=True)
    wanted = Path(session.create_tmp()).resolve() / "installed.txt"
    wanted.write_text(str(listed or ""), encoding="utf-8")
    session.install("pip-audit>=2.7")
    # Strict: what the service does not know is no package without vulnerabilities.
    session.run("pip-audit", "--strict", "--disable-pip", "--no-deps", "--progress-spinner=off", "-r", str(wanted))


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Change the code of the deciding packages, place by place: do their unit tests notice? Takes options after --."""
    install(session, "test", "bench", "examples", "mutation")
    session.run("python", "tests/mutation.py", *session.posargs)


@nox.session(default=False)
def package(session: nox.Session) -> None:
    """Build wheel and sdist of the last commit into dist/, twice: the wheels must be the same; check their metadata."""
    arguments(session)
    session.install("build>=1.2", "twine>=6", env=pip_settings())
    at = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
    made = [build_apart(session, Path(session.create_tmp()).resolve() / name, at.stdout.strip()) for name in ("a", "b")]
    first, second = ([file for file in files if file.suffix == ".whl"] for files in made)
    if [file.read_bytes() for file in first] != [file.read_bytes() for file in second]:
        session.error(f"two builds of one commit differ: {first[0]} and {second[0]}")
    (ROOT / "dist").mkdir(exist_ok=True)
    for file in made[0]:
        shutil.copy(file, ROOT / "dist" / file.name)
    session.run("twine", "check", "--strict", *map(str, made[0]))


def build_apart(session: nox.Session, folder: Path, at: str) -> list[Path]:
    """Return wheel and sdist, built in a folder that has the files of the last commit and no others.

    ``at``: in seconds, the time that the files in the wheel have (https://reproducible-builds.org/specs/source-date-epoch).
    """
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "source"
    source.mkdir(parents=True)
    archive = folder / "source.tar"
    subprocess.run(["git", "archive", "-o", str(archive), "HEAD"], cwd=ROOT, check=True)
    shutil.unpack_archive(archive, source)
    made = folder / "made"
    with session.chdir(source):
        session.run("python", "-m", "build", "--outdir", str(made), env={"SOURCE_DATE_EPOCH": at}, silent=True)
    return sorted(made.iterdir())


@nox.session(name="benchmarks-all", default=False)
def benchmarks_all(session: nox.Session) -> None:
    """Measure every figure that is promised (two hours); takes options of benchmarks.everything after --."""
    install(session, "test", "bench", "examples", "browser", "ecosystem", "ray")
    session.install("scikit-learn", "pandas")
    session.run("python", "-m", "benchmarks.everything", *session.posargs, success_codes=(0, 1))


@nox.session(name="tests-all-pythons", python=PYTHONS, default=False)
def tests_all_pythons(session: nox.Session) -> None:
    """Run the unit and integration tests, badges included, on every supported Python found here."""
    asked = arguments(session)
    stages = table.STAGES[:2]
    paths = [path for stage in stages for path in chosen_paths(stage, asked.components)]
    install(session, *dict.fromkeys(extra for stage in stages for extra in stage.extras))
    session.run("python", "-c", "import pybadges; pybadges.badge(left_text='drm', right_text='ok')")
    session.run("python", "-m", "drm", "run", *paths, "--drm-no-report", *asked.pytest)
