"""Print which provider keeps which promise, from a run of the contract suite: ``python contract_table.py``.

A cell is ``yes``, ``NO``, or ``-`` where the provider could not be tested here; why is printed below.
"""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

_SUITE = Path(__file__).with_name("test_provider_contract.py")
_CASE = re.compile(r"::test_(?P<behaviour>\w+)\[(?P<case>[\w-]+)\]")
_PROVIDERS = ("local", "scripted", "docker", "kubernetes", "real_kubernetes", "aws", "gcp")


class _Results:
    """A plugin of pytest that keeps what became of each test."""

    def __init__(self) -> None:
        self.cells: dict[str, dict[str, str]] = {}
        self.skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = _CASE.search(report.nodeid)
        if found is None:
            return
        provider = max((each for each in _PROVIDERS if each in found["case"]), key=len)
        row = self.cells.setdefault(found["behaviour"].replace("_", " "), {})
        if report.skipped:
            row[provider] = "-"
            why = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
            self.skipped[provider] = why.removeprefix("Skipped: ")
        elif report.failed:
            row[provider] = "NO"
        elif report.when == "call" and row.get(provider) != "NO":
            row[provider] = "yes"


def main() -> int:
    results = _Results()
    with redirect_stdout(io.StringIO()):
        code = pytest.main(["-q", "-p", "no:cacheprovider", str(_SUITE)], plugins=[results])
    shown = [each for each in _PROVIDERS if any(each in row for row in results.cells.values())]
    print(f"| behaviour | {' | '.join(shown)} |")
    print(f"|---|{'---|' * len(shown)}")
    for behaviour, row in results.cells.items():
        print(f"| {behaviour} | {' | '.join(row.get(each, '') for each in shown)} |")
    for provider, why in results.skipped.items():
        print(f"\n{provider}: {why}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
