"""``drm doctor`` on this machine, and on one where something is broken."""

from __future__ import annotations

import configparser
import json
from contextlib import closing
from pathlib import Path

import pytest

from drm import doctor_command
from drm.cli import main
from drm.doctor_command.checks import CHECKS, Finding, State
from drm.history import open_history
from drm.model.samples import Sample
from drm.model.work import Outcome, Usage


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_this_machine_runs_tests(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "To run tests"
    assert lines[-1] == "Tests can be run here."
    assert max(map(len, lines)) <= 80
    assert list(tmp_path.iterdir()) == []


def test_programs_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = {found["what"]: found for found in json.loads(capsys.readouterr().out)["findings"]}
    assert len(findings) == sum(map(len, CHECKS.values()))
    assert findings["python"]["state"] == findings["memory"]["state"] == "works"
    assert findings["git"] == {
        "group": "To run tests",
        "what": "git",
        "state": "absent",
        "told": "this folder is in no repository, or git is missing",
        "remedy": "--changed-since and drm bench need one",
    }


def test_what_is_broken_is_named_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Finding:
        return Finding(what="fork", state=State.BROKEN, told="it is not there", remedy="get one")

    monkeypatch.setattr(doctor_command, "CHECKS", {"To run tests": (broken,)})
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out == (
        "To run tests\n  !!  fork          it is not there: get one\n\nWants repair: fork\n"
    )


def test_a_damaged_history_is_told_and_left(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / ".drm").mkdir()
    damaged = tmp_path / ".drm" / "history.db"
    damaged.write_bytes(b"no database" * 100)
    assert main(["doctor"]) == 0
    assert "- history .drm/history.db is damaged (file is not a database)" in " ".join(capsys.readouterr().out.split())
    assert damaged.read_bytes() == b"no database" * 100
    assert [path.name for path in tmp_path.rglob("*")] == [".drm", "history.db"]


def test_a_history_is_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with closing(open_history(tmp_path / ".drm" / "history.db", warn=print)) as history:
        usage = Usage(wall_s=1.0, cpu_s=1.0, peak_rss_bytes=1)
        history.record("run", [Sample(task_id="test_it", usage=usage, outcome=Outcome.PASSED)])
    assert main(["doctor"]) == 0
    assert "ok history .drm/history.db knows 1 tests" in " ".join(capsys.readouterr().out.split())


def test_the_remedies_name_extras_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    for found in json.loads(capsys.readouterr().out)["findings"]:
        if found["group"] == "Extras" and found["what"] != "chromium":
            assert setup.has_option("options.extras_require", found["what"])


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--nonsense"])
    assert stopped.value.code == 4
    assert "drm doctor: error: unrecognized arguments: --nonsense" in capsys.readouterr().err
