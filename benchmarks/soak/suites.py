"""The suites of the soak: small projects of uneven kinds, each with what may come of each of its tests."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks import memory_limit
from benchmarks.engine import make_noop_suite
from drm.model.work import Outcome

__all__ = ["MARATHON", "SUITES", "TOO_MUCH", "Suite", "make"]

TOO_MUCH = "test_too_much.py::test_takes_too_much"
MARATHON = "marathon"
_PASSES = frozenset((Outcome.PASSED,))
_INI = "[pytest]\naddopts = -p no:cacheprovider -q\n"
_PUBLIC = ("networkx.algorithms.tests.test_dag", "networkx.algorithms.tests.test_cycles")

# Every test notes when it began, so that one that runs after its end is found. Locks are the kernel's: they cannot
# be left behind by a process that is killed.
_COMMON = """
import contextlib, fcntl, os, pytest, time

@pytest.fixture(autouse=True)
def noted(request):
    with open("begun", "a") as file:
        file.write(f"{time.time():.6f} {request.node.nodeid}\\n")
    yield

@contextlib.contextmanager
def alone(name, how=fcntl.LOCK_EX):
    with open(f"held-{name}", "a") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.fail(f"{name} is held by another test")
        yield
"""
# For pytest alone: what it holds, each hundred tests.
_TELLS_MEMORY = """
ended = 0

def pytest_runtest_logfinish():
    global ended
    ended += 1
    if "SOAK_MEMORY" in os.environ and ended % 100 == 0:
        pages = open("/proc/self/statm").read().split()[1]
        with open(os.environ["SOAK_MEMORY"], "a") as file:
            file.write(f"{ended} {int(pages) * os.sysconf('SC_PAGE_SIZE')}\\n")
"""
_CPU = """
import pytest

@pytest.mark.parametrize("n", range(18))
def test_counts(n):
    assert sum(i * i % 7 for i in range(200_000 + 70_000 * (n % 6))) > 0
"""
_SLEEPS = """
import pytest, time

@pytest.mark.parametrize("n", range(40))
def test_sleeps(n):
    time.sleep((0.01, 0.05, 0.1, 0.4)[n % 4])
"""
_TOO_MUCH = """
import time

def test_takes_too_much():
    kept = [b"x" * 10_000_000 for _ in range(70)]
    time.sleep(0.3)
    assert len(kept) == 70
"""
_RANDOM = """
import os, pytest, random, signal, sys, time

SEED = {seed}

@pytest.fixture
def broken():
    raise RuntimeError("no fixture")

@pytest.fixture
def breaks():
    yield
    raise RuntimeError("no end")

@pytest.mark.parametrize("n", range({tests}))
def test_any(n, request):
    kind = {kinds!r}[n]
    time.sleep(random.Random(n).choice((0, 0.01, 0.03)))
    print("of", n, "x" * random.Random(n).choice((0, 10, 10_000)))
    if kind == "fails":
        assert n < 0
    if kind == "skips":
        pytest.skip("it skips")
    if kind == "xfails":
        pytest.xfail("it is expected to")
    if kind == "exits":
        sys.exit(3)
    if kind in ("errs", "errs at its end"):
        request.getfixturevalue("broken" if kind == "errs" else "breaks")
    if kind == "crashes once":
        try:
            open(f"crashed-{{n}}", "x").close()
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "raises":
        raise random.Random(n).choice((ValueError, KeyError, OSError, MemoryError))("any")

@pytest.mark.drm(timeout=1)
def test_never_ends():
    time.sleep(600)
"""
_KINDS: dict[str, Outcome] = {
    "passes": Outcome.PASSED,
    "fails": Outcome.FAILED,
    "skips": Outcome.SKIPPED,
    "xfails": Outcome.XFAILED,
    "exits": Outcome.FAILED,
    "errs": Outcome.FAILED,  # in the call, where the fixture is asked for
    "errs at its end": Outcome.ERROR,
    "crashes once": Outcome.PASSED,
    "raises": Outcome.FAILED,
}
_PROPERTIES = """
from hypothesis import given, settings, strategies as st

@given(st.lists(st.integers()))
@settings(max_examples=30, deadline=None, database=None)
def test_holds(numbers):
    assert sorted(numbers) == sorted(reversed(numbers))

@given(st.integers())
@settings(max_examples=200, deadline=None, database=None, derandomize=True)
def test_does_not_hold(number):
    assert number < 50
"""
_GPU = """
import os, pytest, time
from conftest import alone

@pytest.mark.drm(gpu=1)
@pytest.mark.parametrize("n", range(10))
def test_device(n):
    with alone("gpu" + os.environ["DRM_GPU_IDS"]):
        time.sleep(0.05)

@pytest.mark.parametrize("n", range(10))
def test_without(n):
    time.sleep(0.05)
"""
_LABEL = """
import pytest, time

@pytest.mark.drm(labels=["gpu"])
@pytest.mark.parametrize("n", range(10))
def test_kernel(n):
    time.sleep(0.05)

@pytest.mark.parametrize("n", range(10))
def test_without(n):
    time.sleep(0.05)
"""
_LOCKS = """
import fcntl, pytest, time
from conftest import alone

@pytest.mark.drm(lock="db")
@pytest.mark.parametrize("n", range(8))
def test_alone(n):
    with alone("db"):
        time.sleep(0.05)

@pytest.mark.drm(shared_lock="db")
@pytest.mark.parametrize("n", range(8))
def test_shared(n):
    with alone("db", fcntl.LOCK_SH):
        time.sleep(0.05)

@pytest.mark.drm(resources={"license": 1})
@pytest.mark.parametrize("n", range(8))
def test_counted(n):
    with alone("license"):
        time.sleep(0.03)

@pytest.mark.drm(group="g")
@pytest.mark.parametrize("n", range(6))
def test_grouped(n):
    with alone("group"):
        time.sleep(0.03)

@pytest.mark.drm(serial=True)
def test_serial():
    with alone("db"), alone("license"), alone("group"):
        time.sleep(0.05)

@pytest.mark.parametrize("n", range(20))
def test_free(n):
    time.sleep(0.03)
"""
_LONG = """
import os, pytest, time

@pytest.mark.parametrize("n", range(%(tests)d))
def test_n(n):
    time.sleep(float(os.environ.get("SOAK_SLEEP", 0.03)))
    assert n %% 50, "one of fifty fails"
"""


@dataclass
class Suite:
    """``wanted``: by test what may come of it. ``words``: what is added to the command. ``labels``: by test, what its
    worker must carry."""

    name: str
    wanted: dict[str, frozenset[Outcome]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)

    def tests(self, module: str, function: str, count: int, outcomes: frozenset[Outcome] = _PASSES) -> list[str]:
        names = [f"{module}::{function}[{n}]" for n in range(count)]
        self.wanted.update(dict.fromkeys(names, outcomes))
        return names


def _write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


def _plain_tests(folder: Path) -> dict[str, frozenset[Outcome]]:
    """Return the functions ``test_...`` of all modules, each of which passes."""
    return {
        f"{module.name}::{line[4:].partition('(')[0]}": _PASSES
        for module in sorted(folder.glob("test_*.py"))
        for line in module.read_text(encoding="utf-8").splitlines()
        if line.startswith("def test_")
    }


def _noops(folder: Path, mode: str, rng: random.Random) -> Suite:
    made = Suite("noops")
    count = rng.choice((300, 1000))
    make_noop_suite(folder, count)
    made.wanted = _plain_tests(folder)
    return made


def _cpu(folder: Path, mode: str, rng: random.Random) -> Suite:
    made = Suite("cpu")
    _write(folder, test_cpu=_CPU, test_sleeps=_SLEEPS)
    made.tests("test_cpu.py", "test_counts", 18)
    made.tests("test_sleeps.py", "test_sleeps", 40)
    return made


def _memory(folder: Path, mode: str, rng: random.Random) -> Suite:
    made = Suite("memory")
    memory_limit.make_suite(folder)
    (folder / "pytest.ini").write_text(_INI, encoding="utf-8")
    _write(folder, test_too_much=_TOO_MUCH)
    made.wanted = _plain_tests(folder)
    return made


def _random(folder: Path, mode: str, rng: random.Random) -> Suite:
    made = Suite("random")
    count = 60
    kinds = [rng.choice((*_KINDS, "passes", "passes")) for _ in range(count)]
    _write(folder, test_random=_RANDOM.format(seed=rng.random(), tests=count, kinds=kinds))
    for n, kind in enumerate(kinds):
        made.wanted[f"test_random.py::test_any[{n}]"] = frozenset((_KINDS[kind],))
    made.wanted["test_random.py::test_never_ends"] = frozenset((Outcome.FAILED,))
    if find_spec("hypothesis"):
        _write(folder, test_properties=_PROPERTIES)
        made.wanted["test_properties.py::test_holds"] = _PASSES
        made.wanted["test_properties.py::test_does_not_hold"] = frozenset((Outcome.FAILED,))
    return made


def _gpu(folder: Path, mode: str, rng: random.Random) -> Suite:
    """Devices where they can be declared; else workers that carry a label."""
    made = Suite("gpu")
    if mode in ("fork", "spawn"):
        _write(folder, test_gpu=_GPU)
        made.tests("test_gpu.py", "test_device", 10)
        made.tests("test_gpu.py", "test_without", 10)
        made.words = ("--drm-gpus=2",)
    else:
        _write(folder, test_label=_LABEL)
        made.labels = dict.fromkeys(made.tests("test_label.py", "test_kernel", 10), "gpu")
        made.tests("test_label.py", "test_without", 10)
        made.words = ("--drm-worker-type=cpu=1,labels=gpu,name=g",) if mode == "workers" else ()
    return made


def _locks(folder: Path, mode: str, rng: random.Random) -> Suite:
    made = Suite("locks")
    _write(folder, test_locks=_LOCKS)
    with (folder / "pytest.ini").open("a", encoding="utf-8") as file:
        file.write("[drm]\nresources = license:1\n")
    for function, count in (("alone", 8), ("shared", 8), ("counted", 8), ("grouped", 6), ("free", 20)):
        made.tests("test_locks.py", f"test_{function}", count)
    made.wanted["test_locks.py::test_serial"] = _PASSES
    return made


def _public(folder: Path, mode: str, rng: random.Random) -> Suite:
    """Tests of networkx, as its wheel has them; without it the suite of locks stands in, under its own name."""
    if find_spec("networkx") is None:
        return _locks(folder, mode, rng)
    made = Suite("public", words=("--pyargs", *_PUBLIC))
    command = [sys.executable, "-m", "pytest", "--collect-only", *made.words]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    told = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    may = frozenset((Outcome.PASSED, Outcome.SKIPPED, Outcome.XFAILED))
    made.wanted = {line: may for line in told.splitlines() if "::" in line}
    return made


def _marathon(folder: Path, mode: str, rng: random.Random, tests: int = 8000) -> Suite:
    made = Suite(MARATHON)
    _write(folder, conftest=_COMMON + _TELLS_MEMORY)
    per_module = 200
    for number in range(tests // per_module):
        _write(folder, **{f"test_long_{number:02}": _LONG % {"tests": per_module}})
        for n in range(per_module):
            outcome = Outcome.PASSED if n % 50 else Outcome.FAILED
            made.wanted[f"test_long_{number:02}.py::test_n[{n}]"] = frozenset((outcome,))
    return made


_Maker = Callable[[Path, str, random.Random], Suite]
SUITES: Mapping[str, _Maker] = {
    "noops": _noops,
    "cpu": _cpu,
    "memory": _memory,
    "random": _random,
    "gpu": _gpu,
    "locks": _locks,
    "public": _public,
}


def make(name: str, folder: Path, mode: str, rng: random.Random) -> Suite:
    """Write a suite into a folder. ``mode``: how its tests will be run, see ``schedule``."""
    (folder / "pytest.ini").write_text(_INI, encoding="utf-8")
    if name != "public":
        _write(folder, conftest=_COMMON)
    return (_marathon if name == MARATHON else SUITES[name])(folder, mode, rng)
