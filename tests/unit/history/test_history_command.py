"""``drm history``: what it prints, takes in and gives out, and what it says of files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drm.cli import main
from drm.history.database import Database
from drm.model.samples import RunFacts, Sample
from drm.model.work import Outcome, Usage

ID = "tests/test_a.py::TestA::test_x[1-2]"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def history(*arguments: str) -> int:
    return main(["history", *arguments])


def filled(path: Path = Path(".drm/history.db")) -> None:
    path.parent.mkdir(exist_ok=True)
    store = Database(path)
    store.begin(RunFacts(run_id="r1", commit="c0ffee", branch="main"))
    rows = [
        Sample(
            task_id=ID,
            usage=Usage(wall_s=wall_s, cpu_s=wall_s, peak_rss_bytes=100 * 2**20),
            outcome=outcome,
            at=1.7e9 + attempt,
            attempt=attempt,
            machine="m",
            reserved_bytes=2**28,
            death="memory" if outcome is None else "",
        )
        for attempt, (wall_s, outcome) in enumerate([(1.0, None), (2.0, Outcome.FAILED), (2.1, Outcome.PASSED)], 1)
    ]
    store.record("r1", rows)
    store.close()


def test_show_gives_attempts_and_what_follows_from_them(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    assert history("show", "test_x") == 0
    out = capsys.readouterr().out
    assert "cut short (memory)" in out
    assert "any of the" not in out
    assert "100 MiB" in out
    assert "110 MiB are reserved" in out
    assert "the largest of its 2 attempts and 10%" in out
    assert history("show", "--json", ID) == 0
    (line,) = capsys.readouterr().out.splitlines()
    shown = json.loads(line)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == [None, "failed", "passed"]
    wall = shown["prediction"]["wall_s"]
    assert wall["p50"] <= wall["p90"] <= wall["p99"]
    assert history("show", "no such test") == 1


def test_a_part_of_a_name_shows_what_its_tests_need_together(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    store = Database(Path(".drm/history.db"))
    usage = Usage(wall_s=8.0, cpu_s=8.0, peak_rss_bytes=400 * 2**20, gpu_bytes=2**30)
    store.record("r2", [Sample(task_id="tests/test_a.py::test_y", usage=usage, outcome=Outcome.PASSED, at=1.7e9)])
    store.close()
    assert history("show", "tests/test_a.py") == 0
    out = capsys.readouterr().out
    assert "gpu memory: 1 GiB" in out
    assert "any of the 2 tests with 'tests/test_a.py' in their names" in out
    assert "440 MiB are reserved" in out.partition("any of the 2")[2]
    assert history("show", "--json", "tests/test_a.py") == 0
    *_, together = map(json.loads, capsys.readouterr().out.splitlines())
    assert (together["tests"], together["prediction"]["method"]) == (2, "together")
    assert together["prediction"]["wall_s"]["p99"] == 8.0


def test_stats_count_and_name_the_flaky(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    assert history("stats", "--json") == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["tests"], stats["attempts"], stats["cut_short"], stats["killed_for_memory"]) == (1, 3, 1, 1)
    assert [flaky["test"] for flaky in stats["flaky"]] == [ID]
    assert history("stats") == 0
    assert "95 % interval" in capsys.readouterr().out


def test_what_is_exported_comes_back_whole(capsys: pytest.CaptureFixture[str]) -> None:
    filled()
    assert history("export", "--output", "out.jsonl") == 0
    assert history("--file", "other.db", "import", "out.jsonl") == 0
    assert "3 attempts taken in" in capsys.readouterr().out
    assert history("--file", "other.db", "export", "--output", "again.jsonl") == 0
    assert Path("again.jsonl").read_text() == Path("out.jsonl").read_text()
    assert history("--file", "other.db", "import", "out.jsonl") == 0
    assert "0 attempts taken in, 3 left out" in capsys.readouterr().out


def test_other_tools_memories_inform_the_first_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tests").mkdir()
    (project / "tests" / "test_a.py").touch()
    Path(".test_durations").write_text(json.dumps({ID: 2.5, "bad": -1, "worse": "x", "nan": float("nan")}))
    Path("junit.xml").write_text(
        '<testsuites><testsuite><testcase classname="tests.test_a.TestA" name="test_x[1-2]" time="3.5"/>'
        '<testcase classname="tests.test_a" name="test_f" time="0.5"><failure message="no"/></testcase>'
        "</testsuite></testsuites>"
    )
    cache = project / ".pytest_cache" / "v" / "cache"
    cache.mkdir(parents=True)
    (cache / "nodeids").write_text(json.dumps([ID, "tests/test_a.py::test_f"]))
    (cache / "lastfailed").write_text(json.dumps({"tests/test_a.py::test_f": True, "tests/broken.py": True}))
    assert history("import", ".test_durations", "junit.xml", ".pytest_cache") == 0
    counts = [line.split(": ")[1].split()[0] for line in capsys.readouterr().out.splitlines()]
    assert counts == ["1", "2", "2"]
    store = Database(Path(".drm/history.db"))
    found = store.samples([ID, "tests/test_a.py::test_f"])
    assert sorted(sample.usage.wall_s for sample in found[ID]) == [0.0, 2.5, 3.5]
    assert {sample.outcome for sample in found["tests/test_a.py::test_f"]} == {Outcome.FAILED}
    store.close()


def test_merge_and_prune(capsys: pytest.CaptureFixture[str]) -> None:
    filled(Path("shard.db"))
    assert history("merge", "shard.db") == 0
    assert history("merge", "shard.db") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "3 attempts of 1 runs taken over, 0 were there" in first
    assert "0 attempts of 0 runs taken over, 3 were there" in second
    assert history("prune", "--per-test", "1") == 0
    assert "2 attempts left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("stats",), "there is no history"),
        (("import", "nowhere"), "cannot be read"),
        (("import", "text"), "line 1 is no attempt"),
        (("merge", "text"), "no history that can be read"),
        (("import", "shard.db"), "drm history merge shard.db"),
        (("--file", "text", "stats"), "file is not a database"),
        (("prune", "--days", "0"), "above 0"),
        (("import", "."), "no cache of pytest's"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(Path("shard.db"))
    Path("text").write_text("this is neither JSON nor a database, but it is long enough to be one\n" * 20)
    with pytest.raises(SystemExit) as ended:
        history(*arguments)
    assert ended.value.code == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
