"""What a machine installs before its worker starts: the Python of this run, DRM, and the project.

The result is lines of bash for ``bootstrap`` of a provider's settings. Each step is one line of the machine's console
log, ``drm: ...``; one that fails ends the script, and with it the machine (see ``user_data``).
"""

from __future__ import annotations

import platform
import re
import shlex
from dataclasses import dataclass
from importlib import metadata

from drm import __version__
from drm.model.errors import ConfigError

__all__ = ["PYTHON", "WarmUp"]

PYTHON = "/opt/drm/venv/bin/python"  # what commands of this machine's Python become there
_SECRET = re.compile(r"://[^/\s@]*:[^/\s@]*@|[?&](?:[\w-]*signature|sig|[\w-]*token|password)=", re.IGNORECASE)
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*\Z")
_VERSION = re.compile(r"3\.\d+(\.\d+)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """What to install. ``python``: the version, by default this one, to the patch, because a cluster takes no other;
    with "3.12" any patch of it will do. ``requirements``: what pip takes, such as a wheel's URL or
    ``git+https://...@REF``. ``git`` and ``ref``: a repository whose commit is checked out in ``folder``, where the
    worker then runs and which is installed when it has a project file. ``drm``: DRM.
    ConfigError for what holds a secret, or cannot be a name.
    """

    requirements: tuple[str, ...] = ()
    git: str = ""
    ref: str = ""
    folder: str = "/opt/drm/project"
    python: str = ""
    drm: str = f"drm-testing[ray]=={__version__}"

    def __post_init__(self) -> None:
        for text in (*self.requirements, self.git, self.drm):
            if _SECRET.search(text):
                raise ConfigError(
                    "warm-up: an address holds a password, a token or a signature, which would be in user data",
                    remedy="let the machine's own role read it, or make an image that has the project",
                )
            if text.startswith("-") or "\n" in text:
                raise ConfigError(f"warm-up: {text!r} is no requirement and no repository")
        if bool(self.git) != bool(self.ref):
            raise ConfigError("warm-up: git and ref belong together", remedy="give both: what commit is to be tested?")
        if self.ref and not _REF.match(self.ref):
            raise ConfigError(f"warm-up: {self.ref!r} is no commit, tag or branch")
        if self.python and not _VERSION.match(self.python):
            raise ConfigError(f"warm-up: {self.python!r} is no version of Python", remedy="write 3.12, or leave it out")

    def script(self) -> str:
        """Return lines of bash, to be run by root with ``set -e``."""
        version = self.python or platform.python_version()
        packages = [self.drm, *self.requirements, *_ray()]
        wanted = shlex.join(packages)
        lines = [
            "export HOME=${HOME:-/root} PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 GIT_TERMINAL_PROMPT=0",
            'drm_say() { echo "drm: $1"; }',
            'drm_try() { for s in 1 3 9 27; do "$@" && return 0; sleep $s; done; "$@"; }  # a mirror may be busy',
            f"drm_say 'installing Python {version}'",
            *_python(version),
            f"drm_say {shlex.quote('installing ' + ' '.join(packages))}",
            f"drm_try drm_pip {wanted}",
        ]
        if self.git:
            folder = shlex.quote(self.folder)
            lines += [
                f"drm_say {shlex.quote(f'checking out {self.ref}')}",
                f"drm_fetch() {{ rm -rf {folder} && git clone -q {shlex.quote(self.git)} {folder}; }}",
                "drm_try drm_fetch",
                f"git -C {folder} checkout -q --detach {shlex.quote(self.ref)}",
                f"if [ -e {folder}/pyproject.toml ] || [ -e {folder}/setup.py ]; then drm_try drm_pip {folder}; fi",
                f"cd {folder}",
            ]
        lines += [f"export PATH={PYTHON.rpartition('/')[0]}:$PATH", "drm_say 'ready to join'"]
        return "\n".join(lines) + "\n"


def _ray() -> list[str]:
    """Return the very Ray that is installed here, which is what a coordinator takes; none where there is none."""
    try:
        return [f"ray=={metadata.version('ray')}"]
    except metadata.PackageNotFoundError:
        return []


def _python(version: str) -> list[str]:
    """Return lines that make an environment of that Python: the system's own, else one that uv fetches."""
    folder = PYTHON.rpartition("/bin/")[0]
    own = f"python{'.'.join(version.split('.')[:2])}"
    return [
        "mkdir -p /opt/drm",
        f"here=$({own} -c 'import platform; print(platform.python_version())' 2>/dev/null || true)",
        f"if command -v uv >/dev/null; then uv venv -q --clear --python {version} {folder}",
        f'elif [ "$here" = {version} ] || [ "${{here%.*}}" = {version} ]; then {own} -m venv --clear {folder}',
        "else python3 -m venv --clear /opt/drm/uv && drm_try /opt/drm/uv/bin/python -m pip install -q uv",
        f"  /opt/drm/uv/bin/uv venv -q --clear --python {version} {folder}; fi",
        "drm_pip() {",
        f'  if command -v uv >/dev/null; then uv pip install -q --python {PYTHON} "$@"',
        f'  elif [ -x /opt/drm/uv/bin/uv ]; then /opt/drm/uv/bin/uv pip install -q --python {PYTHON} "$@"',
        f'  else {PYTHON} -m pip install -q "$@"; fi',
        "}",
    ]
