"""``python -m benchmarks.everything``: how a command's output becomes rows of the table."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks import everything
from benchmarks.everything import main, measure, parse_json
from benchmarks.promises import MEASUREMENTS, Figure, Measurement, rows_in


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a module's file; ``python -m printed`` runs it."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "printed.py"


def test_a_document_or_lines_of_json() -> None:
    assert parse_json('{"a": 1}') == {"a": 1}
    assert parse_json('run 1: well\n{"a": 1}\n{"a": 2}\n') == [{"a": 1}, {"a": 2}]
    assert rows_in(parse_json('{"a": 1}')) == rows_in(parse_json('run 1: well\n{"a": 1}\n'))


def test_a_figure_is_kept_up_to_its_limits() -> None:
    most, least = Figure("w", float, most=1.0), Figure("w", float, least=95.0, unit="%")
    assert (most.is_kept(1.0), most.is_kept(1.1)) == (True, False)
    assert (least.is_kept(95.0), least.is_kept(94.9)) == (True, False)
    assert (most.promise, least.promise) == ("at most 1 x", "at least 95 %")


def test_what_a_command_prints_is_looked_up(program: Path) -> None:
    program.write_text("print('{\"a\": 0.5}')")
    figure = Figure("a", lambda told: told["a"], most=1)
    assert measure(Measurement(("printed",), (figure,)), None) == ([(figure, 0.5)], "")


def test_a_command_that_fails_is_told(program: Path) -> None:
    program.write_text("raise SystemExit('no cgroup here')")
    figure = Figure("a", lambda told: told["a"], most=1)
    assert measure(Measurement(("printed",), (figure,)), None) == ([(figure, None)], "exit code 1: no cgroup here")


def test_without_its_data_nothing_is_run(tmp_path: Path) -> None:
    figure = Figure("a", float, most=1)
    assert measure(Measurement(("none",), (figure,), data="traces"), tmp_path)[1] == "no data: traces"
    assert measure(Measurement(("none",), (figure,), data="traces"), None)[1] == "no data: traces"


def test_figures_in_a_file(program: Path) -> None:
    program.write_text("import os; open(os.environ['DRM_STAGE_FOLDER'] + '/found.json', 'w').write('[1, 2]')")
    figures = (Figure("a", lambda told: told[1], most=1), Figure("b", lambda told: told[2], most=1))
    found, why = measure(Measurement(("printed",), figures, reads="found.json"), None)
    assert [value for _, value in found] == [2.0, None]
    assert why == "exit code 0: "
    program.write_text("")
    assert "found.json" in measure(Measurement(("printed",), figures, reads="found.json"), None)[1]


def test_times_are_measured_alone_and_first(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program.write_text("import sys; print(len(sys.argv))")
    rows = [
        Measurement(("printed", *["x"] * n), (Figure(str(n), float, most=9),), is_timed=is_timed)
        for n, is_timed in enumerate((False, True, False, True))
    ]
    monkeypatch.setattr(everything, "MEASUREMENTS", rows)
    assert main([]) == 0
    assert [line.split("|")[1] for line in capsys.readouterr().out.splitlines()[-4:]] == [" 1 ", " 3 ", " 0 ", " 2 "]


def test_the_table(program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    program.write_text("print('{\"a\": 2}')")
    figures = (
        Figure("slow", lambda told: told["a"], most=1),
        Figure("full", lambda told: told["a"], least=2, unit="%"),
    )
    monkeypatch.setattr(everything, "MEASUREMENTS", (Measurement(("printed",), figures),))
    table = program.with_name("table.md")
    assert main(["--output", str(table)]) == 1
    rows = capsys.readouterr().out.splitlines()[-2:]
    assert rows == [
        "| slow | at most 1 x | 2 x | **not kept** | `python -m printed` |",
        "| full | at least 2 % | 2 % | kept | same |",
    ]
    assert table.read_text().splitlines()[-2:] == rows

    day = time.strftime("%Y-%m-%d")
    assert day in table.read_text()
    table.write_text(table.read_text().replace(day, "2000-01-01"))
    program.write_text("print('{\"a\": 3.0}')")  # of another length, or what was compiled would be taken for it
    second = Measurement(("printed", "again"), figures[1:])
    monkeypatch.setattr(everything, "MEASUREMENTS", (Measurement(("printed",), figures), second))
    assert main(["--output", str(table)]) == 1
    again = "| full | at least 2 % | 3 % | kept | `python -m printed again` |"
    assert table.read_text().splitlines()[-3:] == [*rows, again], "what this commit has is not measured again"

    table.write_text(
        table.read_text().replace("3 %", "no data").replace("kept | `python", "**not measured** | `python")
    )
    monkeypatch.setattr(everything, "MEASUREMENTS", (second,))
    main(["--output", str(table)])
    assert table.read_text().splitlines()[-1] == again
    table.write_text(table.read_text().replace("Commit ", "Commit 0"))
    assert main(["--output", str(table)]) == 0
    assert table.read_text().splitlines()[-2:] == ["|---|---|---|---|---|", again], "of another commit nothing is kept"


def test_every_command_is_a_module_that_there_is() -> None:
    root = Path(__file__).parents[3]
    for module in {measurement.command[0].replace(".", "/") for measurement in MEASUREMENTS} - {"pytest"}:
        assert (root / f"{module}.py").is_file() or (root / module / "__main__.py").is_file()
