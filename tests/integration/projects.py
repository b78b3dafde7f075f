"""Projects on which pytest runs as a process, and the search for what a run left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drm.reporting.ndjson import read_events
from drm.reporting.results import Results, read_results

MARK = "DRM_TEST_PROJECT"
TIMEOUT_S = 120.0
MODES = {
    "fork": ("--drm-executors", "2"),
    "spawn": ("--drm-executors", "2", "--drm-start", "spawn"),
    "workers": ("--drm-workers", "2", "--drm-worker-type", "cpu=1", "--drm-cpus", "2"),
}


def wait_until(condition: Callable[[], Any], *, timeout_s: float = 60.0, why: str = "waited in vain") -> Any:
    """Return the first true value of the condition."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, why
        time.sleep(0.01)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a pytest process ended, and all that it printed."""

    code: int
    out: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def line(self, pattern: str) -> str:
        """Return the one line that the pattern is found in."""
        found = [line for line in self.lines if re.search(pattern, line)]
        assert len(found) == 1, f"{len(found)} lines match {pattern!r} in:\n{self.out}"
        return found[0]

    def counts(self) -> Counter[str]:
        """Return the numbers of pytest's last line."""
        last = [line for line in self.lines if re.search(r" in \d+\.\d+s", line)][-1:]
        assert last, f"no last line in:\n{self.out}"
        return Counter({word.rstrip("s"): int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", last[0])})

    def account(self) -> Counter[str]:
        """Return the numbers of DRM's accounting line; their sum is checked."""
        found = re.search(r"^drm: (\d+) tests? = (.*?)( \(|;|$)", self.out, re.MULTILINE)
        assert found, f"no accounting in:\n{self.out}"
        counts = Counter({name: int(n) for n, name in re.findall(r"(\d+) (errors?|not run|[a-z]+)", found.group(2))})
        counts["error"] += counts.pop("errors", 0)
        counts = +counts
        assert counts.total() == int(found.group(1)), self.out
        return counts


class Project:
    """A folder with a suite. ``mark`` is in the environment of every process a run of it starts."""

    def __init__(self, root: Path, temp: Path) -> None:
        self.root = root
        self.temp = temp
        self.mark = uuid.uuid4().hex
        self.report_dir = root / "out"
        self._started = 0
        self.file("pytest.ini", "[pytest]\n")

    def file(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def environment(self, **extra: str) -> dict[str, str]:
        """Return ours, less what a test process has from the run that it is part of, and less CI: there pytest
        prints its short summary in full."""
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "DRM_", "PY_COLORS", "FORCE_COLOR"))
            and name not in ("CI", "BUILD_NUMBER")
        }
        return {
            **ours,
            MARK: self.mark,
            "TMPDIR": str(self.temp),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # a start takes half as long
            "COLUMNS": "200",
            "PYTHONHASHSEED": "0",  # the order in which pytest shows what differs
            **extra,
        }

    def start(self, *args: str, drm: bool = True, wrap: tuple[str, ...] = (), **environment: str) -> Running:
        plugin = ("-p", "drm.pytest_plugin", "--drm") if drm else ()
        self._started += 1
        log = self.root / f"log-{self._started}.txt"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*wrap, sys.executable, "-m", "pytest", *plugin, *args],
                cwd=self.root,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(self, process, log)

    def run(self, *args: str, timeout_s: float = TIMEOUT_S, **options: Any) -> Ran:
        return self.start(*args, **options).end(timeout_s=timeout_s)

    def drm(self, *args: str, mode: str = "fork", **options: Any) -> Ran:
        """Run with the record kept in ``report_dir``."""
        return self.run("--drm-report-dir", str(self.report_dir), *MODES[mode], *args, **options)

    def serial(self, *args: str, **options: Any) -> Ran:
        return self.run(*args, drm=False, **options)

    def python(self, *args: str) -> str:
        """Run Python in the project; return what it printed. It may end with any exit code below 2."""
        done = subprocess.run(
            [sys.executable, *args], cwd=self.root, env=self.environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout

    def events(self) -> list[Any]:
        """Return the events of the last run; a file with gaps or damage is an error."""
        return list(read_events(self.report_dir / "events.ndjson"))

    def events_so_far(self) -> list[Any]:
        """Return the events of a run under way, or killed: its last line may be half written."""
        return list(read_events(self.report_dir / "events.ndjson", on_note=lambda _: None))

    def results(self) -> Results:
        return read_results(self.report_dir / "results.json")

    def processes(self) -> dict[int, str]:
        """Return the processes that carry our mark and run, with their command lines."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                    if state not in "ZX":
                        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        found[int(folder.name)] = command
            except OSError:
                continue
        return found

    def folders(self) -> list[Path]:
        return sorted(self.temp.glob("drm-*"))

    def assert_nothing_left(self, *, timeout_s: float = 15.0) -> None:
        """Wait until no process and no folder of ours is left."""
        deadline = time.monotonic() + timeout_s
        while (processes := self.processes()) or self.folders():
            assert time.monotonic() < deadline, f"left behind: {processes} {self.folders()}"
            time.sleep(0.01)

    def destroy(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


class Running:
    """A pytest process under way."""

    def __init__(self, project: Project, process: subprocess.Popen[bytes], log: Path) -> None:
        self._project = project
        self.process = process
        self._log = log

    def out(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, condition: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
        """Return the first true value of the condition, which must come before the process ends."""

        def look() -> Any:
            value = condition()
            assert value or self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.out()}"
            return value

        return wait_until(look, timeout_s=timeout_s, why="waited in vain")

    def end(self, *, timeout_s: float = TIMEOUT_S) -> Ran:
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._project.destroy()
            self.process.wait()
            raise AssertionError(f"did not end within {timeout_s:g} s:\n{self.out()}") from None
        return Ran(code=code, out=self.out())


def new_project(root: Path) -> Iterator[Project]:
    """Yield an empty project; whatever is done in it, no process and no folder may be left at the end."""
    root.mkdir()
    temp = Path(tempfile.mkdtemp(prefix="t"))  # short: socket paths have at most 108 characters
    made = Project(root, temp)
    try:
        yield made
        made.assert_nothing_left()
    finally:
        made.destroy()
        shutil.rmtree(temp, ignore_errors=True)


def junit_of(path: Path) -> list[tuple[str, str, str]]:
    """Return (nodeid, kind, text) of every test case of a junit file, sorted; times left out."""
    rows = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        rows.append((name, "case", ""))
        for child in case:
            if child.tag == "properties":
                rows += [(name, "property", f"{entry.get('name')}={entry.get('value')}") for entry in child]
            else:
                rows.append((name, child.tag, f"{child.get('message')} {child.text}"))
    return sorted(rows)


def results_text(project: Project) -> dict[str, Any]:
    """Return results.json as plain data."""
    return dict(json.loads((project.report_dir / "results.json").read_text(encoding="utf-8")))


def clean_environment() -> dict[str, str]:
    """What the run around this one says of itself is not for the inner one."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DRM_"))}
