"""What must be so after a run of the soak beside its record: files, junit.xml, the history, the page, the memory."""

from __future__ import annotations

import base64
import getpass
import gzip
import re
import sqlite3
import statistics
import subprocess
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.chaos_clusters import command_of
from benchmarks.reporting.opening import CHROMIUM, FLAGS
from drm.engines.ray_engine.guard import sweep

__all__ = [
    "KIB_PER_TEST",
    "account",
    "files",
    "folders_of_ray",
    "history",
    "junit",
    "listing",
    "memory_slope",
    "opened",
    "page",
]

KIB_PER_TEST = 2  # by which the controller may grow for each test, above pytest itself, which keeps their reports
IN_PROJECT = (
    *(
        "begun",
        "held-*",
        "crashed-*",
        "clock*",
        "provider",
        "junit.xml",
        "log*",
        ".hypothesis*",
        "*__pycache__*",
        "reports*",
    ),
    *(
        ".drm",
        ".drm/.gitignore",
        ".drm/history.db",
        ".drm/history.db-*",
        ".drm/history.db.damaged-*",
        ".drm/filler",
        "before*",
    ),
)
IN_TEMP = (f"pytest-of-{getpass.getuser()}*", "filler")
_OPENINGS = 5
_ACCOUNT = re.compile(r"^drm: (\d+) tests? = (.*?)(?: \(|;|$)", re.MULTILINE)


def listing(folder: Path) -> set[str]:
    """Return all that is in a folder, as paths within it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def files(folder: Path, before: Collection[str], may: Sequence[str]) -> list[str]:
    """Return what has come into a folder and may not, or has gone from it."""
    now = listing(folder)
    strange = sorted(name for name in now - set(before) if not any(fnmatch(name, each) for each in may))
    wrong = [f"{name} is left in {folder.name}/" for name in strange[:5]]
    return wrong + [f"{name} has gone from {folder.name}/" for name in sorted(set(before) - now)[:5]]


def folders_of_ray(before: Collection[Path]) -> list[str]:
    """Return what Ray's nodes have left in /tmp, where their sockets have to be: what is new, and no process's.

    What those have left whose hosts went without power is removed by the next node to start, and first here.
    """
    sweep(Path("/tmp"))
    commands = [command_of(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()]
    new = {path for path in Path("/tmp").glob("drm-*") if (path / "session_latest").is_symlink()} - set(before)
    return [f"{path} is left" for path in sorted(new) if not any(str(path) in command for command in commands)]


def account(out: str, tests: int) -> list[str]:
    """Hold what was printed against the number of tests."""
    wrong = [f"the output says {word}" for word in ("INTERNALERROR", "DOES NOT ADD UP") if word in out]
    found = _ACCOUNT.search(out)
    if found is None:
        return [*wrong, "no account was printed"]
    numbers = [int(number) for number in re.findall(r"(\d+) (?:errors?|not run|[a-z]+)", found[2])]
    if int(found[1]) != tests or sum(numbers) != tests:
        wrong.append(f"the account says {found[0]!r}, of {tests} tests")
    return wrong


def junit(path: Path, tests: int, bad: int | None) -> list[str]:
    """Hold what pytest was told against the number of tests, and of bad ones where that is known."""
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        return [f"junit.xml cannot be read ({error})"]
    names = Counter(f"{case.get('classname')}::{case.get('name')}" for case in cases)
    wrong = [f"junit.xml has {name} {count} times" for name, count in names.items() if count > 1][:3]
    if len(names) != tests:
        wrong.append(f"junit.xml has {len(names)} tests of {tests}")
    failed = sum(any(child.tag in ("failure", "error") for child in case) for case in cases)
    if bad is not None and failed != bad:
        wrong.append(f"junit.xml has {failed} bad tests, the record {bad}")
    return wrong


def history(path: Path) -> list[str]:
    """Tell whether the history is whole: whatever was damaged has been set aside by the end of the run."""
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (told,) = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        told = str(error)
    return [] if told == "ok" else [f"the history is damaged at the end: {told[:200]}"]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.data = ""
        self._is_data = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("html", "head", "body", "main", "table", "script", "style", "title"):
            self.open.append(tag)
        self._is_data = ("id", "data") in attrs

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag in self.open:
            self.wrong.append(f"</{tag}> closes what is not open")

    def handle_data(self, data: str) -> None:
        if self._is_data:
            self.data += data


def page(path: Path) -> list[str]:
    """Tell whether a report.html is whole: its parts are closed, and what its charts are drawn from can be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [f"the report cannot be read ({error})"]
    parser = _Page()
    parser.feed(text)
    parser.close()
    wrong = [f"the report: {each}" for each in (*parser.wrong, *(f"<{tag}> is not closed" for tag in parser.open))]
    try:
        gzip.decompress(base64.b64decode(parser.data.strip(), validate=True))
    except (ValueError, OSError, EOFError) as error:
        wrong.append(f"the report: its data cannot be read ({error})")
    return wrong


def opened(path: Path) -> tuple[list[str], str]:
    """Open the report in chromium, which may dump it before all is drawn; return what is wrong, and what was done."""
    if not Path(CHROMIUM).exists():
        return [], f"not opened in a browser: {CHROMIUM} is not installed"
    command = [CHROMIUM, *FLAGS, "--timeout=4000", "--virtual-time-budget=60000", "--dump-dom", path.as_uri()]
    told = ""
    for _ in range(_OPENINGS):
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout
        if "data-drawn=" in told:
            break
    if "data-drawn=" not in told or 'data-drawn="failed"' in told:
        return [f"the report is not drawn in chromium: {told[:200]!r}"], "opened in chromium"
    return [], "opened in chromium, and its charts are drawn"


def memory_slope(samples: Sequence[tuple[int, int]]) -> float | None:
    """Return the bytes by which the controller grows for each test that ends, over the second half of a run.

    ``samples``: (tests ended, resident bytes). The median of the slopes of all pairs (Theil and Sen), so that neither a
    report at the end nor a page given back counts for more than it is. None where there is too little to tell.
    """
    half = [sample for sample in samples if sample[0] >= samples[-1][0] / 2] if samples else []
    slopes = [
        (later[1] - sample[1]) / (later[0] - sample[0])
        for number, sample in enumerate(half)
        for later in half[number + 1 :]
        if later[0] > sample[0]
    ]
    return statistics.median(slopes) if len(slopes) >= 100 else None
