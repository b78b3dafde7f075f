"""Help: it fits a terminal of 80 columns, and every command says what it does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import drm
from drm.cli import main


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    try:
        code = main([*command, "--help"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 0
    return capsys.readouterr().out


def commands_in(text: str, indent: int) -> list[str]:
    return re.findall(rf"^ {{{indent}}}([a-z]+)  +\S", text, re.MULTILINE)


def test_every_help_fits_and_says_what_the_command_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    texts = {("drm",): help_of(capsys)}
    for name in commands_in(texts["drm",], 2):
        texts[name,] = text = help_of(capsys, name)
        listed = text.partition("  COMMAND\n")[2].partition("\n\n")[0]
        texts |= {(name, inner): help_of(capsys, name, inner) for inner in commands_in(listed, 4)}
    assert len(texts) > 30
    assert {("ci", "init"), ("history", "merge"), ("bench", "compare")} <= texts.keys()
    for command, text in texts.items():
        assert [line for line in text.splitlines() if len(line) > 80] == [], command
        said = text.split("\n\n")[1]
        assert re.match(r"[A-Z][a-z]+ ", said), f"{command} does not say what it does: {said}"


@pytest.mark.parametrize("command", ["run", "plan"])
def test_the_options_of_drm_are_listed(capsys: pytest.CaptureFixture[str], command: str) -> None:
    said = help_of(capsys, command)
    assert "\n  --drm-executors N|A..B|auto\n" in said
    assert "(default: auto, one per core;" in " ".join(said.split())


@pytest.mark.parametrize("command", [["doctor"], ["--help"], ["report", "--help"], ["ci", "context"]])
def test_a_reader_that_has_seen_enough_sees_no_traceback(tmp_path: Path, command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    source = str(Path(drm.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "drm", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == (0 if "--help" in command else 1), "argparse itself passes over what it cannot write"
