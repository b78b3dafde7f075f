"""The same results as other tools report them: pytest-html, and Allure where npm and java are there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from drm.summary import RunSummary

__all__ = ["allure", "pytest_html"]

_CONFTEST = """
import json
from pathlib import Path

import pytest

ROWS = json.loads((Path(__file__).parent / "rows.json").read_text())


class Item(pytest.Item):
    def __init__(self, *, outcome, message, **known):
        super().__init__(**known)
        self.outcome, self.message = outcome, message

    def runtest(self):
        if self.outcome in ("failed", "error"):
            raise AssertionError(self.message)
        if self.outcome == "skipped":
            pytest.skip(self.message or "skipped")

    def reportinfo(self):
        return self.path, 0, self.name


class File(pytest.File):
    def collect(self):
        for name, outcome, message in ROWS:
            yield Item.from_parent(self, name=name, outcome=outcome, message=message)


def pytest_collect_file(file_path, parent):
    return File.from_parent(parent, path=file_path) if file_path.name == "rows.json" else None
"""


def pytest_html(summary: RunSummary, folder: Path) -> Path:
    """Return the page that pytest-html makes of the same tests with the same outcomes and messages."""
    rows = [(test.task_id, test.outcome.value, test.message) for test in summary.tests]
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "conftest.py").write_text(_CONFTEST, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    page = folder / "pytest-html.html"
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=short", "-p", "no:drm", "rows.json"]
    command += [f"--html={page}", "--self-contained-html"]
    subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=900)
    return page


def allure(summary: RunSummary, folder: Path) -> Path | None:
    """Return Allure's report of the same tests in one file; None without npm and java."""
    if shutil.which("npm") is None or shutil.which("java") is None:
        return None
    results, tool = folder / "allure-results", folder / "allure-tool"
    results.mkdir()
    tool.mkdir()
    for test in summary.tests:
        key = str(uuid.uuid4())
        status = {"passed": "passed", "failed": "failed", "error": "broken", "skipped": "skipped"}.get(
            test.outcome.value, "unknown"
        )
        start = int(1000 * (test.started_s or 0.0))
        found = {"uuid": key, "historyId": key, "name": test.task_id.rpartition("::")[2], "fullName": test.task_id}
        found |= {"status": status, "stage": "finished", "start": start, "stop": start + int(1000 * test.wall_s)}
        found |= {"labels": [{"name": "suite", "value": test.task_id.partition("::")[0]}]}
        if test.message:
            found["statusDetails"] = {"message": test.message}
        (results / f"{key}-result.json").write_text(json.dumps(found), encoding="utf-8")
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(tool), "allure-commandline@2"]
    if subprocess.run(install, check=False, capture_output=True, timeout=300).returncode:
        return None
    command = [
        str(tool / "node_modules" / ".bin" / "allure"),
        "generate",
        "--single-file",
        "-o",
        "report",
        str(results),
    ]
    subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=600)
    page = folder / "report" / "index.html"
    return page if page.exists() else None
