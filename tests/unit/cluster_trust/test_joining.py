"""A machine that does not fit is told so, one line for each thing, with the remedy."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from drm.joining import (
    MachineFacts,
    clock_line,
    installed_packages,
    join_problems,
    needed_packages,
    package_problems,
)
from drm.model.errors import ConfigError

HERE = MachineFacts(name="head", python="3.11.7", ray="2.60.0", drm="0.1.0", at=1000.0, system="Linux-x86_64")
THERE = replace(HERE, name="w1")


def test_a_machine_that_fits_joins_and_its_words_survive_the_journey() -> None:
    assert join_problems(HERE, THERE) == []
    assert MachineFacts.from_json(THERE.to_json()) == THERE
    here = MachineFacts.here("me", "0.1.0")
    assert join_problems(here, MachineFacts.from_json(here.to_json())) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"python": "3.11.8"}, ("Python 3.11.8", "3.11.7")),
        ({"ray": "2.59.0"}, ("Ray 2.59.0", "pip install 'ray==2.60.0'")),
        ({"ray": ""}, ("Ray (none)",)),
        ({"drm": "0.2"}, ("drm 0.2", "0.1.0")),
        ({"system": "Darwin-arm64"}, ("Darwin-arm64",)),
        ({"name": "taken"}, ("'taken'", "--name")),
    ],
)
def test_each_mismatch_is_one_line(changes: dict[str, str], words: tuple[str, ...]) -> None:
    problems = join_problems(HERE, replace(THERE, **changes), names=["taken"])  # type: ignore[arg-type]
    assert len(problems) == 1
    assert "\n" not in problems[0]
    for word in words:
        assert word in problems[0]
    everything = replace(THERE, python="3", ray="1", drm="9", name="taken", system="x")
    assert len(join_problems(HERE, everything, names=["taken"])) == 5


def test_a_clock_an_hour_off_is_said_and_keeps_nobody_out() -> None:
    slow = replace(THERE, at=HERE.at - 3600)
    assert "w1 is 60 min slow" in clock_line(HERE.at, slow)
    assert "60 min fast" in clock_line(HERE.at, replace(THERE, at=HERE.at + 3600))
    assert clock_line(HERE.at, replace(THERE, at=HERE.at + 5)) == ""
    assert join_problems(HERE, slow) == []


def test_packages_that_the_suite_imports_are_needed_in_that_version(tmp_path: Path) -> None:
    needed = needed_packages(["pytest", "_pytest.config", "json", "pytest.none"], tmp_path)
    assert needed == {"pytest": pytest.__version__}
    assert package_problems("w1", needed, installed_packages()) == []
    (other,) = package_problems("w1", needed, {"pytest": "1.0"})
    assert f"pip install 'pytest=={pytest.__version__}'" in other
    (lacking,) = package_problems("w1", needed, {})
    assert "lacks pytest" in lacking


def test_what_is_sent_need_not_be_installed() -> None:
    root = Path(str(sys.modules["drm"].__file__)).parents[1]
    assert "drm-testing" not in needed_packages(["drm.cli", "pytest"], root)


@pytest.mark.parametrize("said", [{}, {"name": 1}, {**THERE.to_json(), "at": "noon"}, {**THERE.to_json(), "more": 3}])
def test_nonsense_is_refused_in_a_line(said: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="did not say what it is"):
        MachineFacts.from_json(said)
