"""What reads foreign input, given anything: it returns something, or raises an error of DRM's own.

``python tests/fuzzing.py TARGET [--seconds 600] [--seed N]`` tries inputs guided by coverage (needs atheris:
``python -m pip install atheris``). One that breaks a reader is printed, and left as a file to be put into
``tests/golden/foreign/TARGET/``, where ``test_foreign_input.py`` tries it ever after.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drm.ci_commands.context import current_context
from drm.cloud_provider_manager.catalogue import read_catalogue
from drm.coordinator.retries import parse_retries
from drm.dynamic_resource_manager import parse_scaling
from drm.history_command import carrying
from drm.model.errors import DrmError
from drm.model.markers import parse_worker_type
from drm.model.resources import Resources
from drm.model.units import parse_bytes, parse_count_range, parse_duration
from drm.model.wire import FrameReader, encode_frame
from drm.reporting.collect import replay_all
from drm.reporting.inputs import read_inputs
from drm.reporting.junit_file import read_junit
from drm.reporting.measures import read_benchmarks, read_coverage
from drm.reporting.results import read_head, read_results, write_results
from drm.settings import read_settings
from drm.simulator.scenario_file import read_scenario
from drm.summary import summarise
from drm.worker.protocol import observation

FOUND = Path(__file__).parent / "golden" / "foreign"
_MACHINE = Resources(cpu_cores=8, memory_bytes=2**33)


def _file(name: str, read: Callable[[Path], Any]) -> Callable[[Path, bytes], None]:
    """Return a target that finds its input in a file of that name."""

    def target(folder: Path, data: bytes) -> None:
        path = folder / name
        path.write_bytes(data)
        read(path)

    return target


def _events(path: Path) -> None:
    replay_all(path, lambda note: None)


def _results(path: Path) -> None:
    for read in (read_results, read_head):
        _unless_told(read, path)


def _options(folder: Path, data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (
        lambda: parse_bytes(text),
        lambda: parse_duration(text),
        lambda: parse_count_range(text, what="x", auto=4),
        lambda: parse_retries(text, "x"),
        lambda: parse_scaling(text, where="x"),
        lambda: parse_worker_type(text, machine=_MACHINE, number=0),
    ):
        _unless_told(parse)


def _wire(folder: Path, data: bytes) -> None:
    reader = FrameReader()
    for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
        for message in reader.feed(piece):
            _unless_told(observation, "w", message)


def _context(folder: Path, data: bytes) -> None:
    path = folder / "event.json"
    path.write_bytes(data)
    given = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(path), "GITHUB_EVENT_NAME": "pull_request"}
    current_context(given, folder)


def _unless_told(act: Callable[..., Any], *arguments: Any) -> None:
    with contextlib.suppress(DrmError):
        act(*arguments)


TARGETS: dict[str, Callable[[Path, bytes], None]] = {
    "events": _file("events.ndjson", _events),
    "results": _file("results.json", _results),
    "report": _file("report.json", lambda path: read_inputs([str(path)])),
    "junit": _file("junit.xml", lambda path: read_junit(path, path.name)),
    "coverage": _file("coverage.json", lambda path: read_coverage(path, [])),
    "benchmarks": _file("benchmark.json", lambda path: read_benchmarks([path.parent], [])),
    "durations": _file(".test_durations", carrying._read),
    "ini": _file("pytest.ini", lambda path: read_settings(path.parent)),
    "toml": _file("pyproject.toml", lambda path: read_settings(path.parent)),
    "scenario": _file("scenario.json", read_scenario),
    "scenario-yaml": _file("scenario.yml", read_scenario),
    "catalogue": _file("catalogue.json", read_catalogue),
    "options": _options,
    "wire": _wire,
    "context": _context,
}

_EVENT = {"schema_version": 1, "seq": 1, "at": "2026-01-01T00:00:00Z", "elapsed_s": 0.0}


def _results_of_a_run() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.json")
        write_results(summarise([]), path)
        return path.read_bytes()


def begin_with(target: str) -> list[bytes]:
    """Return inputs of the right kind, from which others are made."""
    root = Path(__file__).parents[1]
    golden = {
        "events": [*Path(__file__).parent.glob("golden/**/events*.ndjson")],
        "report": [*Path(__file__).parent.glob("golden/report.json")],
        "junit": [*Path(__file__).parent.glob("golden/**/*junit*.xml")],
        "catalogue": [*(root / "drm" / "cloud_provider_manager" / "catalogues").glob("*.json")],
        "scenario-yaml": [*(root / "benchmarks" / "scenarios").glob("*.yml")],
    }
    written = {
        "events": [json.dumps({"event": "RunStarted", **_EVENT}).encode()],
        "results": [_results_of_a_run()],
        "coverage": [b'{"totals": {"covered_lines": 1, "num_statements": 2}, "files": {"a.py": {"summary": {}}}}'],
        "benchmarks": [b'{"benchmarks": [{"name": "a", "fullname": "a", "stats": {"min": 1.0, "mean": 2.0}}]}'],
        "durations": [b'{"a.py::test": 1.5}', b'{"test": "a", "wall_s": 1.0, "run": "r"}\n', b"<testsuite/>"],
        "ini": [b"[drm]\ncpu = 2\nmemory = 1GiB\nexecutors = 1..4\nresources = license:2\n"],
        "toml": [b'[tool.drm]\ncpu = 2\nquarantine = ["a"]\nresources = {license = 2}\n'],
        "options": [b"4GiB", b"1..4", b"crash=1,failure=2", b"utilization,target=0.6", b"cpu=1,memory=2GiB,labels=a+b"],
        "wire": [
            encode_frame(["joined", 1.0, 2**30, 0, [], "cpu", 1, 0, 0]),
            encode_frame(["end", "gw0", "t", 1, "passed", "", [], [1.0, 1.0, 1]]),
            encode_frame(["exited", "gw0", {"signal": "SIGKILL"}]),
        ],
        "context": [b'{"pull_request": {"number": 1, "head": {"ref": "a", "sha": "b"}, "base": {"ref": "c"}}}'],
        "scenario": [b'{"workload": {"tests": [{"count": 1, "seconds": 1}]}, "workers": [{"name": "a", "cpu": 1}]}'],
    }
    return [*written.get(target, []), *(path.read_bytes() for path in golden.get(target, []))]


def check(target: str, data: bytes, folder: Path) -> None:
    """Give the input to the reader; an exception that is none of DRM's comes through."""
    _unless_told(TARGETS[target], folder, data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Try inputs that nobody would write.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    import atheris

    with tempfile.TemporaryDirectory(prefix="drm-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as made:
        folder, corpus = Path(made, "work"), Path(made, "corpus")
        folder.mkdir()
        corpus.mkdir()
        for data in begin_with(options.target):
            (corpus / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)

        def one_input(data: bytes) -> None:
            check(options.target, data, folder)

        limits = [f"-max_total_time={options.seconds}", f"-seed={options.seed}", "-max_len=4096", "-timeout=20"]
        atheris.instrument_all()
        kept = f"-artifact_prefix={options.target}-"
        atheris.Setup([sys.argv[0], *limits, kept, "-print_final_stats=1", str(corpus)], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
