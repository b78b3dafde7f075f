"""``drm ci run``: what the jobs of a pipeline do, on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drm.ci_commands.lines import say
from drm.model.errors import ConfigError, DrmError
from drm.model.stages import STAGES, stage_named
from drm.reporting.files import read_json

__all__ = ["add_to"]

_LAST = ("report", "badges", "status")
_PASSED, _SKIPPED = "passed", "skipped"
_NO_TESTS = 5  # pytest's


def add_to(commands: Any) -> None:
    """Add the command to those of ``drm ci``."""
    parser = commands.add_parser(
        "run",
        help="do here what the jobs of a pipeline do: the stages in their order, then report, badges and status",
        epilog="exit codes: 0: all passed; 1: a stage or one of the last sessions failed; 4: no noxfile, or no nox; "
        "5: there was no test in any stage",
    )
    parser.add_argument("stage", nargs="*", help=f"only these: {', '.join(stage.name for stage in STAGES)}")
    parser.add_argument("--component", metavar="NAME", help="only its tests: of the unit stage, or of the stages named")
    parser.add_argument("--no-report", action="store_true", help="leave out report, badges and status")
    parser.set_defaults(call=_run)


def _run(options: argparse.Namespace) -> int:
    for name in options.stage:
        if stage_named(name) is None:
            known = ", ".join(stage.name for stage in STAGES)
            raise ConfigError(f"{name!r} is no stage", remedy=f"choose from {known}")
    nox = _nox()
    states: dict[str, str] = {}
    for stage in STAGES:
        if options.stage and stage.name not in options.stage:
            continue
        if bad := [name for name in stage.after if not _is_good(states.get(name, _PASSED))]:
            states[stage.name] = f"not run: {bad[0]} did not pass"
            continue
        # As in CI, where the input `component` is one of the stages that are split over them.
        component = options.component if stage.by_component or options.stage else None
        state = _session(nox, stage.name, *((component,) if component else ()))
        states[stage.name] = (_skipped(stage.name, component) or state) if state == _PASSED else state
    no_test = all(state.startswith(_SKIPPED) for state in states.values())
    # The last sessions know what was asked for, as in CI: other components are left out, not missing.
    asked = {"DRM_COMPONENT": options.component} if options.component else {}
    for name in () if options.no_report else _LAST:
        states[name] = _session(nox, name, environ=asked)
    for name, state in states.items():
        say(f"{name}: {state}")
    if not all(map(_is_good, states.values())):
        return 1
    if no_test:
        say("no test ran: STAGES in noxfile.py says where they are looked for")
    return _NO_TESTS if no_test else 0


def _is_good(state: str) -> bool:
    return state.startswith((_PASSED, _SKIPPED))


def _skipped(stage: str, component: str | None) -> str:
    """Return why a session that ended well ran no test, if the stage says so."""
    folder = "-".join((stage, component)) if component else stage
    try:
        told = read_json(Path("reports") / folder / "status.json")
    except DrmError:
        return ""
    return f"{_SKIPPED}: {told.get('reason') or 'no tests'}" if told.get("status") == _SKIPPED else ""


def _nox() -> list[str]:
    if not Path("noxfile.py").is_file():
        raise ConfigError("there is no noxfile.py here", remedy="go to the project's folder, or run `drm ci init`")
    if importlib.util.find_spec("nox") is not None:
        return [sys.executable, "-m", "nox"]
    if uvx := shutil.which("uvx"):
        return [uvx, "nox"]
    raise ConfigError("neither nox nor uvx is installed", remedy="python -m pip install nox uv")


def _session(nox: list[str], name: str, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
    sys.stdout.flush()
    command = [*nox, "-s", name, *(("--", *arguments) if arguments else ())]
    code = subprocess.run(command, env={**os.environ, **(environ or {})}, check=False).returncode
    return _PASSED if code == 0 else f"failed ({code})"
