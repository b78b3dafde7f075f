"""What a machine installs, and the command by which it joins."""

from __future__ import annotations

import ensurepip
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drm.cloud_provider_manager import CloudProviderManager
from drm.cloud_provider_manager.joining import Joining
from drm.cloud_provider_manager.providers.user_data import user_data
from drm.cloud_provider_manager.warm_up import PYTHON, WarmUp
from drm.model.cluster import InstanceRequest
from drm.model.errors import ConfigError

Request = Callable[..., InstanceRequest]


def wheel(folder: Path, name: str) -> Path:
    """Make a wheel with one module that has a version."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "HERE = __file__\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def repository(folder: Path) -> str:
    """Make a repository with a project of two commits; return the first one's hash."""
    folder.mkdir()
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    for text in ("first", "second"):
        (folder / "which.txt").write_text(text)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", text], check=True)
    shown = subprocess.run([*git, "rev-parse", "HEAD~1"], capture_output=True, text=True, check=True)
    return shown.stdout.strip()


# ``python -m venv`` without the three seconds in which it unpacks pip: that lies in a wheel, and runs from there.
VENV = """#!/bin/sh
if [ "$1 $2 $3" = "-m venv --clear" ]; then
  {python} -m venv --without-pip --clear "$4" && echo {pip} > "$(echo "$4"/lib/python3.*/site-packages)/pip.pth"
else exec {python} "$@"; fi
"""


def tools(folder: Path, has_uv: bool) -> str:
    """Return a PATH with this Python and the system's programs, and uv or none."""
    here = folder / "bin"
    here.mkdir()
    python = here / f"python{'.'.join(platform.python_version_tuple()[:2])}"
    pips = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if has_uv:
        uv = shutil.which("uv")
        if uv is None:
            pytest.skip("uv is not installed here")
        (here / "uv").symlink_to(uv)
    if has_uv or not pips:  # systems may have it elsewhere
        python.symlink_to(sys.executable)
    else:
        python.write_text(VENV.format(python=sys.executable, pip=pips[-1]))
        python.chmod(0o755)
    return f"{here}:/usr/local/bin:/usr/bin:/bin"


@pytest.mark.parametrize("has_uv", [True, False])
def test_a_machine_installs_this_python_the_wheel_and_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_uv: bool
) -> None:
    """The whole script, in real bash, with its fixed folder moved to one of ours, and without a network."""
    monkeypatch.setattr("drm.cloud_provider_manager.warm_up._ray", list)  # it is on no machine's disk
    drm, project = wheel(tmp_path, "drm_of_test"), wheel(tmp_path, "project_of_test")
    commit = repository(tmp_path / "repository")
    warm = WarmUp(drm=str(drm), requirements=(str(project),), git=str(tmp_path / "repository"), ref=commit)
    show = (
        "import sys, drm_of_test, project_of_test; print(sys.version.split()[0], sys.prefix, open('which.txt').read())"
    )
    script = user_data([PYTHON, "-c", show], [], lease_s=3600, bootstrap=warm.script())
    home = tmp_path / "opt"
    moved = script.replace("/opt/drm", str(home))
    environment = {"PATH": tools(tmp_path, has_uv), "UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", "shutdown() { :; }\n" + moved], env=environment, capture_output=True, text=True, check=False
    )
    version = platform.python_version()
    lines = done.stdout.splitlines()
    assert lines[:-1] == [
        f"drm: installing Python {version}",
        f"drm: installing {drm} {project}",
        f"drm: checking out {commit}",
        "drm: ready to join",
    ], done.stderr
    python, prefix, which = lines[-1].split()
    assert (python, prefix, which) == (version, str(home / "venv"), "first")


def test_what_cannot_be_installed_ends_the_machine_and_starts_no_worker(tmp_path: Path) -> None:
    warm = WarmUp(drm=str(tmp_path / "absent.whl"))
    script = user_data(["echo", "worker"], [], lease_s=3600, bootstrap=warm.script())
    assert "for s in 1 3 9 27;" in script, "a mirror that is busy is asked again"
    moved = script.replace("/opt/drm", str(tmp_path / "opt")).replace("for s in 1 3 9 27;", "for s in 0;")
    shell = 'shutdown() { echo "$@"; }\n' + moved
    environment = {"PATH": os.environ["PATH"], "UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, text=True, check=False)
    assert "worker" not in done.stdout
    assert done.stdout.splitlines()[-1] == "-P now"
    assert "absent.whl" in done.stderr


@pytest.mark.parametrize(
    "given",
    [
        {"requirements": ("https://me:canary@example.com/a.whl",)},
        {"requirements": ("https://bucket.example.com/a.whl?X-Amz-Signature=canary",)},
        {"git": "https://x-access-token:canary@example.com/a.git", "ref": "main"},
        {"drm": "https://example.com/drm.whl?token=canary"},
    ],
)
def test_a_secret_in_an_address_is_refused_without_being_shown(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="would be in user data; let the machine's own role read it") as caught:
        WarmUp(**given)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"requirements": ("--index-url=x",)},
        {"git": "https://example.com/a.git"},
        {"ref": "main"},
        {"git": "x", "ref": "--upload-pack=x"},
        {"git": "-x", "ref": "main"},
        {"python": "3.12; reboot"},
        {"python": "2.7"},
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="warm-up"):
        WarmUp(**given)


class Enrolment:
    """What ``Joining`` asks of an enrolment."""

    address = ("0.0.0.0", 6400)
    authority = "QUFB"

    def __init__(self) -> None:
        self.given: list[tuple[str, float]] = []
        self.revoked: list[str] = []

    def ticket(self, worker_id: str, *, valid_s: float) -> str:
        self.given.append((worker_id, valid_s))
        return f"canary-{len(self.given)}"

    def revoke(self, worker_id: str) -> None:
        self.revoked.append(worker_id)


@pytest.fixture
def joined(request_for: Request) -> tuple[Joining, Enrolment, InstanceRequest]:
    enrolment = Enrolment()
    command = (sys.executable, "-m", "drm", "worker", "--coordinator", "10.0.0.5:6379")
    environment = (("PYTHONPATH", "/home/me"), ("DRM_X", "y"))
    asked = request_for("w1", command=command, environment=environment, token="r/w1")
    return Joining(enrolment, host="10.0.0.5", valid_s=600.0), enrolment, asked  # type: ignore[arg-type]


def test_the_command_of_this_machine_becomes_one_of_another(
    joined: tuple[Joining, Enrolment, InstanceRequest],
) -> None:
    joining, enrolment, asked = joined
    ready = joining(asked)
    assert ready.command[:5] == (PYTHON, "-m", "drm.cluster_trust.enrolment", "--at", "10.0.0.5:6400")
    split = ready.command.index("--")
    assert ready.command[split + 1 :] == (PYTHON, "-m", "drm", "worker", "--coordinator", "10.0.0.5:6379")
    assert ready.environment == (("DRM_X", "y"), ("DRM_JOIN_TOKEN", "canary-1"))
    assert enrolment.given == [("w1", 600.0)]
    assert "canary" not in " ".join(ready.command)  # others see the command lines of a machine
    script = user_data(ready.command, ready.environment, lease_s=60)
    assert "export DRM_JOIN_TOKEN=canary-1" in script
    joining.ended("w1")
    assert enrolment.revoked == ["w1"]


def test_only_machines_elsewhere_get_it(
    joined: tuple[Joining, Enrolment, InstanceRequest], scripted: Any, clock: Any, request_for: Request
) -> None:
    joining, enrolment, _ = joined
    manager = CloudProviderManager(clock=clock, prepare=joining, ended=joining.ended)
    here, there = scripted, type(scripted)(name="elsewhere")
    here.name = "local"
    there.offerings = lambda: (request_for(provider="elsewhere").worker_type,)
    manager.add_provider(here)
    manager.add_provider(there)
    manager.create_worker(request_for("w1"))
    assert enrolment.given == []
    manager.create_worker(request_for("w2", provider="elsewhere"))
    assert enrolment.given == [("w2", 600.0)]
    manager.terminate_worker("w2")
    assert enrolment.revoked == ["w2"]
