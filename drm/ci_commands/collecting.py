"""A suite as pytest collects it, read from a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drm.cicd_integration.discovery import CollectionError, FoundTest, Suite, component, stage
from drm.model.errors import ConfigError
from drm.model.resources import Requirements, Resources
from drm.reporting.text import one_line

__all__ = ["collect", "say_errors"]

_PROGRAM = """\
import json, sys
path, sys.path[:] = sys.argv[1], json.loads(sys.argv[2])
from drm.ci_commands.collector import main
sys.exit(main(path, sys.argv[3:]))
"""
_TABLE = Path("drm", "model", "stages.py")
_MOST_ERRORS = 20
_USAGE_ERROR, _NO_TESTS = 4, 5


def collect(arguments: Sequence[str]) -> Suite:
    """Return what pytest collects with these arguments, in this folder; ConfigError where it gets nowhere.

    What the project prints meanwhile is kept back. Modules that cannot be collected are in ``Suite.errors``.
    """
    with tempfile.TemporaryDirectory(prefix="drm-collect-") as folder:
        path, log = Path(folder, "found.json"), Path(folder, "log.txt")
        with log.open("wb") as output:
            command = [sys.executable, "-P", "-c", _PROGRAM, str(path), json.dumps(sys.path), *arguments]
            ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            raise ConfigError(
                f"pytest could not collect ({_ended(ran.returncode)}): {_last_line(log)}",
                remedy="see what pytest --collect-only says",
            ) from None
        if "problem" in found:
            raise ConfigError(one_line(found["problem"], 1000))
        if found["exit_code"] == _USAGE_ERROR or "rootdir" not in found:
            raise ConfigError(
                f"pytest could not collect (exit code {found['exit_code']}): {_last_line(log)}",
                remedy="the options and paths that drm does not know are pytest's",
            )
        return _suite(found)


def say_errors(suite: Suite) -> int:
    """Say in a line each what could not be collected; return pytest's exit code: 2 if there was any, 5 for no tests."""
    for error in suite.errors[:_MOST_ERRORS]:
        print(f"drm: cannot collect {one_line(error.where)}: {one_line(error.message, 300)}", file=sys.stderr)
    if len(suite.errors) > _MOST_ERRORS:
        print(f"drm: and {len(suite.errors) - _MOST_ERRORS} more that cannot be collected", file=sys.stderr)
    if not suite.tests and not suite.errors:
        what = f"all {suite.deselected} tests are deselected" if suite.deselected else "there are no tests here"
        print(f"drm: {what} ({one_line(suite.rootdir)})", file=sys.stderr)
    return suite.exit_code


def _suite(found: dict[str, Any]) -> Suite:
    needs = [_requirements(row) for row in found["needs"]]
    has_table = Path(found["rootdir"], _TABLE).is_file()
    places: dict[str, tuple[str, str]] = {}
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    tests = []
    for task_id, file, path, line, fixtures, marks, row in found["tests"]:
        if file not in places:
            places[file] = stage(file), component(file, has_table=has_table)
        its_stage, its_component = places[file]
        tests.append(
            FoundTest(
                task_id=task_id,
                file=file,
                path=path,
                line=line,
                fixtures=shared.setdefault(tuple(fixtures), tuple(fixtures)),
                marks=shared.setdefault(tuple(marks), tuple(marks)),
                stage=its_stage,
                component=its_component,
                requirements=needs[row],
            )
        )
    return Suite(
        rootdir=found["rootdir"],
        tests=tuple(tests),
        errors=tuple(CollectionError(where=where, message=message) for where, message in found["errors"]),
        deselected=found["deselected"],
        exit_code=found["exit_code"],
        import_paths=tuple(found["import_paths"]),
        counted=tuple(found["counted"].items()),
    )


def _requirements(row: dict[str, Any]) -> Requirements:
    cpu_cores, memory_bytes, gpus = row["amounts"]
    return Requirements(
        amounts=Resources(cpu_cores=cpu_cores, memory_bytes=memory_bytes, gpus=gpus),
        labels=frozenset(row["labels"]),
        claims=tuple((name, amount) for name, amount in row["claims"]),
        group=row["group"],
        timeout_s=row["timeout_s"],
        idempotent=row["idempotent"],
        sources=tuple((name, source) for name, source in row["sources"]),
    )


def _ended(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _last_line(log: Path) -> str:
    """Return the line that says most: pytest's ERROR or argparse's error, else the last one."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("ERROR") or "error: " in line]
    return one_line((telling or lines or ["it said nothing"])[-1], 300)
