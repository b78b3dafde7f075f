"""Tables and help in a terminal of 80 characters."""

from __future__ import annotations

import pytest

from drm.ci_commands import COMMANDS, main
from drm.ci_commands.tables import table, terminal_width

ROWS = [("stage", "tests", "file", "why"), ("unit", 3, "tests/unit/test_a.py", "imports a.py -> b.py, which changed")]


def test_a_row_that_is_too_long_has_its_last_column_below_it() -> None:
    assert table(ROWS, right=(1,)) == table(ROWS, right=(1,), width=80)
    assert table(ROWS, right=(1,), width=38) == [
        "stage  tests  file  why",
        "unit       3  tests/unit/test_a.py",
        "    imports a.py -> b.py, which",
        "    changed",
    ]
    assert table(ROWS, indent="  ", width=30)[-2:] == ["      imports a.py -> b.py,", "      which changed"]


def test_an_id_is_never_broken() -> None:
    task_id = f"tests/{'x' * 60}.py::test_a-b"
    assert table([("1 s (history)", "1 cpu", task_id)], width=40)[-1] == f"    {task_id}"


def test_what_goes_to_no_terminal_has_a_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal_width() is None


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_characters(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    if command != "context":  # which cannot go wrong
        assert any(line.startswith("exit codes: 0:") for line in lines)
