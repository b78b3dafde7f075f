"""``drm_once``: made once per run, whoever dies; torn down once; errors in every test that needs it."""

from __future__ import annotations

import pytest
from projects import Project

XDIST = ("-n", "2", "-p", "xdist")
KINDS = ["fork", "spawn", "workers", "serial", "xdist"]
SUITE = """
import os
import time
import uuid

import pytest

def note(word):
    with open("notes.txt", "a") as notes:
        notes.write(f"{word} {os.getpid()}\\n")

def make():
    note("make")
    return {"id": uuid.uuid4().hex}

def end(value):
    note(f"end-{value['id']}")

@pytest.fixture(scope="session")
def db(drm_once):
    return drm_once("db", make, teardown=end)

@pytest.mark.parametrize("n", range(8))
def test_n(n, db, worker):
    note(f"use-{db['id']}")
    time.sleep(0.05)
    worker(n)
"""
# The first tests wait until a second process has used it too: on a busy machine that may be there late.
SHARED = """
import pathlib, time
import pytest

@pytest.fixture
def worker():
    def wait(n):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            lines = (pathlib.Path(__file__).parent / "notes.txt").read_text().splitlines()
            if len({line.partition(" ")[2] for line in lines if line.startswith("use-")}) > 1:
                return
            time.sleep(0.01)
    return wait
"""
PLAIN = "import pytest\n@pytest.fixture\ndef worker(): return lambda n: None\n"


def run(project: Project, kind: str, *args: str) -> object:
    if kind == "serial":
        return project.run("-p", "drm.pytest_plugin", *args, drm=False)
    if kind == "xdist":
        return project.run("-p", "drm.pytest_plugin", *XDIST, *args, drm=False)
    return project.drm(*args, mode=kind)


def notes(project: Project) -> list[tuple[str, str]]:
    lines = (project.root / "notes.txt").read_text().splitlines()
    return [(word, pid) for word, _, pid in (line.partition(" ") for line in lines)]


@pytest.mark.parametrize("kind", KINDS)
def test_made_once_used_by_all_and_torn_down_once_at_the_end(project: Project, kind: str) -> None:
    project.file("conftest.py", PLAIN if kind == "serial" else SHARED)
    project.file("test_suite.py", SUITE)
    ran = run(project, kind)
    assert ran.code == 0, ran.out
    words = [word for word, _ in notes(project)]
    assert words[0] == "make"
    (identity,) = {word.partition("-")[2] for word in words[1:]}
    assert words.count(f"use-{identity}") == 8
    assert words.index(f"end-{identity}") == len(words) - 1 == 9
    users = {pid for word, pid in notes(project) if word.startswith("use-")}
    assert len(users) == (1 if kind == "serial" else 2)


def test_when_its_maker_dies_the_others_keep_it_and_the_last_one_tears_it_down(project: Project) -> None:
    project.file(
        "conftest.py",
        "import os, time, pytest\nfrom pathlib import Path\n"
        "def both():\n    return {l.split()[1] for l in Path('notes.txt').read_text().splitlines() if l[:3] == 'use'}\n"
        "def maker():\n    return int(Path('notes.txt').read_text().split()[1])\n"
        "@pytest.fixture\ndef worker():\n"
        "    def work(n):\n"
        "        deadline = time.monotonic() + 30\n"
        "        while len(both()) < 2 and time.monotonic() < deadline: time.sleep(0.01)\n"
        "        if os.getpid() == maker(): os._exit(3)\n"
        "    return work\n",
    )
    project.file("test_suite.py", SUITE)
    project.drm()
    words = [word for word, _ in notes(project)]
    assert words.count("make") == 1
    (end,) = [(word, pid) for word, pid in notes(project) if word.startswith("end-")]
    assert end == notes(project)[-1]
    assert end[1] != notes(project)[0][1]
    project.assert_nothing_left()


def test_when_its_maker_dies_while_making_another_makes_it(project: Project) -> None:
    project.file("conftest.py", PLAIN)
    project.file(
        "test_suite.py",
        SUITE.replace(
            '    note("make")\n',
            '    note("make")\n    if len(open("notes.txt").readlines()) == 1: os.kill(os.getpid(), 9)\n',
        ),
    )
    ran = project.drm()
    words = [word for word, _ in notes(project)]
    assert words.count("make") == 2
    assert len({word for word in words if word.startswith("use-")}) == 1
    assert sum(word.startswith("end-") for word in words) == 1
    assert ran.counts()["passed"] >= 7


@pytest.mark.parametrize(("teardown", "line"), [("end", ""), ("lambda value: end(value)", "local function")])
def test_when_all_who_used_it_die_the_controller_tears_it_down_or_says_so(
    project: Project, teardown: str, line: str
) -> None:
    project.file("conftest.py", "import os, pytest\n@pytest.fixture\ndef worker(): return lambda n: os._exit(3)\n")
    project.file("test_suite.py", SUITE.replace("teardown=end", f"teardown={teardown}"))
    ran = project.drm()
    assert ran.code == 1
    words = [word for word, _ in notes(project)]
    assert words.count("make") == 1
    assert sum(word.startswith("end-") for word in words) == (0 if line else 1)
    assert (
        f"was not torn down, all processes that used it died before: OnceError('its teardown is a {line}" in ran.out
    ) == bool(line)


BAD = """
import pytest

def make():
    with open("notes.txt", "a") as notes:
        notes.write("make 0\\n")
    {body}

def end(value):
    with open("notes.txt", "a") as notes:
        notes.write("end 0\\n")

@pytest.fixture(scope="session")
def bad(drm_once):
    return drm_once("bad", make, teardown=end)

@pytest.mark.parametrize("n", range(6))
def test_n(n, bad):
    pass

def test_without():
    pass
"""


@pytest.mark.parametrize("kind", ["fork", "serial"])
def test_an_error_of_the_factory_is_in_every_test_that_needs_it(project: Project, kind: str) -> None:
    project.file("test_suite.py", BAD.format(body='raise ValueError("no database")'))
    ran = run(project, kind)
    assert (ran.counts()["error"], ran.counts()["passed"]) == (6, 1), ran.out
    assert [word for word, _ in notes(project)] == ["make"], "it is not tried again and again"
    assert ran.out.count("ValueError: no database") >= 6


def test_a_factory_that_skips_skips_every_test_that_needs_it(project: Project) -> None:
    project.file("test_suite.py", BAD.format(body='pytest.skip("no database here")'))
    ran = project.drm("-rs")
    assert (ran.counts()["skipped"], ran.counts()["passed"]) == (6, 1), ran.out


def test_a_value_that_cannot_be_pickled_is_one_clear_line(project: Project) -> None:
    project.file("test_suite.py", BAD.format(body="return lambda: 1"))
    ran = project.drm()
    assert (ran.counts()["error"], ran.counts()["passed"]) == (6, 1), ran.out
    assert "drm_once 'bad': its value cannot be sent to other processes (" in ran.out
    assert "return what can be pickled, such as an address or a path" in ran.out
    assert [word for word, _ in notes(project)] == ["make", "end"], "what was made is torn down"
    assert run(project, "serial").code == 0


@pytest.mark.parametrize("inner", ["a", "b"])
def test_a_factory_that_asks_for_another_value_is_an_error_and_no_deadlock(project: Project, inner: str) -> None:
    project.file(
        "test_suite.py",
        f"def test_a(drm_once):\n    drm_once('a', lambda: drm_once('{inner}', lambda: 1))\n",
    )
    assert f"drm_once '{inner}' is asked for by the factory of 'a'; ask for it in the fixture" in project.drm().out


def test_values_may_be_built_on_each_other_and_are_torn_down_in_reverse(project: Project) -> None:
    project.file(
        "test_suite.py",
        "import pytest, time\n"
        "def note(word): open('notes.txt', 'a').write(word + ' 0\\n')\n"
        "@pytest.fixture(scope='session')\n"
        "def db(drm_once):\n"
        "    return drm_once('db', lambda: note('db') or 'DB', teardown=lambda v: note('end-' + v))\n"
        "@pytest.fixture\n"
        "def table(drm_once, db):\n"
        "    return drm_once('table', lambda: db + '.table', teardown=lambda v: note('end-' + v))\n"
        "@pytest.mark.parametrize('n', range(4))\n"
        "def test_n(table, n):\n"
        "    time.sleep(0.05)\n"
        "    assert table == 'DB.table'\n",
    )
    ran = project.drm()
    assert ran.code == 0, ran.out
    assert [word for word, _ in notes(project)] == ["db", "end-DB.table", "end-DB"]
