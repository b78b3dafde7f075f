"""What is built and installed: the wheel's content, its entry points, and how fast the command imports."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.message import Message
from pathlib import Path

import ci_sample
import pytest
from packaging.requirements import Requirement

import drm

ROOT = Path(__file__).resolve().parents[2]
IMPORT_BUDGET_S = 0.150


def clean_environment() -> dict[str, str]:
    """Return the environment without coverage's hook, which slows a start and writes files."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@pytest.fixture(scope="module")
def wheel(drm_wheel: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(drm_wheel)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = {file for file in (ROOT / "drm").rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    wanted = {file.relative_to(ROOT).as_posix() for file in files if file.suffix != ".md"}
    missing = sorted(wanted - set(wheel.namelist()))
    assert missing == []


def test_wheel_holds_only_the_package(wheel: zipfile.ZipFile) -> None:
    assert {name.partition("/")[0].partition("-")[0] for name in wheel.namelist()} == {"drm", "drm_testing"}


def test_entry_points(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    points = ConfigParser()
    points.read_string(wheel.read(name).decode())
    assert dict(points["console_scripts"]) == {"drm": "drm.cli:main"}
    assert dict(points["pytest11"]) == {"drm": "drm.pytest_plugin"}


def test_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "drm-testing"
    assert metadata["Version"] == drm.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE", "drm/reporting/page/uplot/LICENSE"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    core = {Requirement(text).name for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text}
    assert core == {"pytest", "jinja2"}


def test_two_builds_of_the_same_files_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time of day, the times of the files and the hash seed."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made = []
    for number in (1, 2):
        monkeypatch.setenv("PYTHONHASHSEED", str(number))
        folder = tmp_path / str(number)
        made.append(ci_sample.build_wheel(folder, changed_at=1_600_000_000 + number).read_bytes())
    assert made[0] == made[1]


def test_a_package_index_takes_the_wheel(drm_wheel: Path) -> None:
    pytest.importorskip("twine", reason="twine is not installed: pip install 'drm-testing[package]'")
    command = [sys.executable, "-m", "twine", "check", "--strict", str(drm_wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("python", "wants_imghdr"), [("3.11", False), ("3.12", False), ("3.13", True)])
def test_badges_extra_makes_pybadges_importable(metadata: Message, python: str, wants_imghdr: bool) -> None:
    """pybadges 3.0.1 imports pkg_resources and imghdr without asking for them."""
    environment = {"extra": "badges", "python_version": python}
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    wanted = {r.name: r for r in requirements if r.marker and r.marker.evaluate(environment)}
    assert ("standard-imghdr" in wanted) == wants_imghdr
    assert not wanted["setuptools"].specifier.contains("81.0.0")
    assert wanted["setuptools"].specifier.contains("80.9.0")


@pytest.mark.filterwarnings("ignore:imghdr was removed", "ignore:pkg_resources is deprecated")
def test_pybadges_draws_here() -> None:
    import pybadges

    assert "<svg" in pybadges.badge(left_text="drm", right_text="passing")


def test_command_line_imports_fast() -> None:
    """The budget is for all that is not the standard library; the best of five runs, for a busy machine."""
    best = min(_imported_s("drm.cli") for _ in range(5))
    assert best < IMPORT_BUDGET_S


def test_the_command_imports_nothing_before_it_can_answer_ctrl_c() -> None:
    code = "import sys; before = set(sys.modules); import drm.cli; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=clean_environment()
    )
    assert set(done.stdout.split()) <= {"drm", "drm.cli", "__future__"}


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_are_told_before_anything_is_loaded(option: str) -> None:
    """No pytest, no settings, none of the commands."""
    code = """if True:
        import argparse, sys
        from drm import cli
        before = set(sys.modules)
        try:
            cli.main(sys.argv[1:])
        except SystemExit:
            print(*set(sys.modules) - before)
    """
    command = [sys.executable, "-c", code, option]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=clean_environment())
    *told, loaded = done.stdout.splitlines()
    assert told[0] == (f"drm {drm.__version__}" if option == "--version" else "usage: drm [-h] [--version] COMMAND ...")
    assert {name for name in loaded.split() if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "drm.command_line"
    }


def test_a_run_on_this_machine_alone_loads_nothing_for_others() -> None:
    """No TLS, HTTP, asyncio, Ray's engine, bundles: what it does not use it does not wait for."""
    code = "import sys, pytest; before = set(sys.modules); import drm.controller; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=clean_environment()
    )
    of_others = ("asyncio", "ssl", "http", "urllib.request", "socketserver", "numpy", "jinja2")
    ours = ("bundle", "cluster_trust", "engines.ray_engine", "resuming", "simulator", "cloud_provider_manager.joining")
    unwanted = (*of_others, *(f"drm.{name}" for name in ours))
    assert [name for name in unwanted if name in done.stdout.split()] == []


def _imported_s(module: str) -> float:
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=clean_environment())
    total = 0.0
    for line in done.stderr.splitlines():
        spent, _, name = line.removeprefix("import time:").split("|")
        top = name.strip().partition(".")[0]
        if spent.strip().isdigit() and top not in sys.stdlib_module_names:
            total += int(spent) / 1e6
    return total
