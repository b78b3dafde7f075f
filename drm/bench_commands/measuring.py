"""Running a project's benchmarks in one of its versions: pytest in a process of its own, times from its JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drm.bench_commands.trees import Tree
from drm.bench_commands.verdicts import Times
from drm.model.errors import ConfigError

__all__ = ["Bench", "pairs_of"]

_COLLECTED_NOTHING = 5  # pytest's
_CHOOSER = "drm_bench_chooser"
# A file of its own, beside the results: the version that is measured may be one of DRM that has no such module.
_CHOOSER_TEXT = """\
import json
from pathlib import Path

def pytest_collection_modifyitems(config, items):
    chosen = json.loads(Path(__file__).with_name("chosen.json").read_text(encoding="utf-8"))
    if chosen:
        out = [item for item in items if item.nodeid not in chosen]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item.nodeid in chosen]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """How to run benchmarks. ``arguments``: paths and options for pytest. ``results``: a folder for its JSON."""

    arguments: tuple[str, ...]
    timer: str
    timeout_s: float
    results: Path

    def run(self, tree: Tree, only: Sequence[str] = ()) -> Times:
        """Return the least seconds of each benchmark; ``only``: of these (their ids)."""
        rows = self._rows(tree, only, ())
        return {row["fullname"]: float(row["stats"]["min"]) for row in rows}

    def calls(self, tree: Tree, only: Sequence[str]) -> dict[str, frozenset[str]]:
        """Return the functions that each of these calls, as pstats names them: ``place/file.py:12(name)``."""
        rows = self._rows(tree, only, ("--benchmark-cprofile=tottime", "--benchmark-cprofile-top=10000"))
        return {row["fullname"]: frozenset(each["function_name"] for each in row.get("cprofile") or ()) for row in rows}

    def _rows(self, tree: Tree, only: Sequence[str], more: Sequence[str]) -> list[dict[str, Any]]:
        target = self.results / "run.json"
        target.unlink(missing_ok=True)
        (self.results / f"{_CHOOSER}.py").write_text(_CHOOSER_TEXT, encoding="utf-8")
        (self.results / "chosen.json").write_text(json.dumps(list(only)), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", _CHOOSER),
            *("--benchmark-only", "--benchmark-disable-gc", f"--benchmark-timer={self.timer}"),
            *(f"--benchmark-json={target}", *more, *self.arguments),
        ]
        code, said = _ran(command, tree.folder, self.results, self.timeout_s)
        try:
            rows: list[dict[str, Any]] = json.loads(target.read_text(encoding="utf-8"))["benchmarks"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            if code == _COLLECTED_NOTHING:
                return []
            raise _failure(tree, code, said) from None
        if code not in (0, _COLLECTED_NOTHING):
            raise _failure(tree, code, said)
        return rows


def _ran(command: Sequence[str], folder: Path, results: Path, timeout_s: float) -> tuple[int, str]:
    """Run in a session of its own, so that nothing it has started stays when it is ended."""
    ran = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(folder, results),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = ran.communicate(timeout=timeout_s)
    except BaseException as error:
        os.killpg(ran.pid, signal.SIGKILL)
        ran.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise ConfigError(
                f"drm bench compare: the benchmarks took longer than {timeout_s:g} s",
                remedy="choose some, or --timeout",
            ) from None
        raise
    return ran.returncode, said.decode("utf-8", "replace")


def _environment(folder: Path, results: Path) -> dict[str, str]:
    """Return ours, with this version's code before any that is installed."""
    paths = [str(place) for place in (folder, folder / "src", results) if place.is_dir()]
    given = os.environ.get("PYTHONPATH", "")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_"))}
    return {**ours, "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [given])])}


def _failure(tree: Tree, code: int, said: str) -> ConfigError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E ", "ERROR", "FAILED", "pytest: error", "ImportError"))]
    last = (errors or lines or ["it printed nothing"])[-1]
    remedy = "install pytest-benchmark" if "--benchmark" in last else "see that the benchmarks run there with pytest"
    return ConfigError(f"drm bench compare: pytest ended with {code} in {tree.name}: {last[:200]}", remedy=remedy)


def pairs_of(
    trees: tuple[Tree, Tree], bench: Bench, count: int, *, only: Sequence[str] = (), say: Callable[[str], None]
) -> list[tuple[Times, Times]]:
    """Return (base, head) of so many turns; who is first changes from turn to turn."""
    base, head = trees
    pairs = []
    for turn in range(count):
        order = (base, head) if turn % 2 == 0 else (head, base)
        found = {tree.folder: bench.run(tree, only) for tree in order}
        pairs.append((found[base.folder], found[head.folder]))
        say(f"pair {turn + 1} of {count}")
    return pairs
