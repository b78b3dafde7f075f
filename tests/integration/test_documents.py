"""The documentation does what it says: pages are followed, commands and options exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from documents import problems_of, run  # noqa: E402

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FOLLOWED = [page for page in PAGES if "```console\n" in page.read_text(encoding="utf-8")]
_LINK = re.compile(r"\]\((?P<target>[^)#\s]+)?(?:#(?P<anchor>[\w-]+))?\)")


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_what_a_page_does_prints_what_it_says(page: Path, tmp_path: Path) -> None:
    if page.stem == "django":
        pytest.importorskip("pytest_django")
    assert problems_of(page.read_text(encoding="utf-8"), tmp_path) == []


def test_a_page_that_says_something_else_is_found(tmp_path: Path) -> None:
    page = "`a.txt`:\n\n```\nhello\n```\n\n```console\n$ cat a.txt\nhello\n$ echo 1 2\n1 ...\n$ cat a.txt\nbye\n```\n"
    assert problems_of(page, tmp_path) == ["$ cat a.txt\nexpected:\nbye\n\nprinted:\nhello\n"]


@cache
def help_of(*command: str) -> str:
    return run(shlex.join(["drm", *command, "--help"]), ROOT)


_CODE = re.compile(r"^```(?:sh|console|yaml)\n(.*?)^```$|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
_SHOWN = re.compile(r"(?:^|[$&|;] )(?:uvx )?drm (?P<name>[a-z]+)(?P<rest>[^&|;#]*)")


def shown_commands() -> list[tuple[str, str, str]]:
    """Return page, command and the options behind it, for every command that is shown in code."""
    return [
        (page.name, match["name"], match["rest"])
        for page in PAGES
        for code in _CODE.findall(page.read_text(encoding="utf-8"))
        for line in "".join(code).splitlines()
        for match in _SHOWN.finditer(line)
    ]


def test_commands_and_options_in_pages_exist() -> None:
    known = set(re.findall(r"^  ([a-z]+)  ", help_of(), re.M))
    of_pytest = run("python -m pytest --help", ROOT)
    missing = []
    for page, name, rest in shown_commands():
        if name not in known:
            missing.append(f"{page}: drm {name}")
            continue
        told = help_of(name)
        second = re.match(r" ([a-z-]+)", rest)
        if second and re.search(rf"^    {second[1]}\b", told, re.M):
            told += help_of(name, second[1])
        if "pytest" in told.lower():  # it takes pytest's options too
            told += of_pytest
        options = re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest.partition(" -- ")[0])
        missing.extend(f"{page}: drm {name} {option}" for option in options if option not in told)
    assert missing == []
    assert len(shown_commands()) > 30


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [*PAGES, ROOT / "drm" / "README.md", ROOT / "CONTRIBUTING.md"]:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for match in _LINK.finditer(prose):
            target = match["target"] or page.name
            if target.startswith(("http", "mailto", ".github/")):  # badges are made by those who copy the line
                continue
            path = page.parent / target
            if not path.exists() or (
                match["anchor"] and path.suffix == ".md" and match["anchor"] not in anchors_of(path)
            ):
                broken.append(f"{page.name}: {match.group()}")
    assert broken == []
