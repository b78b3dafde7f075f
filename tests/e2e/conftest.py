"""What the tests of the whole workflow share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, FLAGS, Opened
from e2e_cluster import Cluster

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "reporting"))  # hostile.py, names a test can give itself
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # recorded.py, the runs made up for tests


def pytest_addoption(parser: pytest.Parser) -> None:
    with suppress(ValueError):  # the performance stage has it too
        parser.addoption("--quick", action="store_true", help="less load in the complete workflow")


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--quick", False))


@pytest.fixture
def cluster(tmp_path: Path, run_folder: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, run_folder, most=5)
    yield made
    made.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start chromium once, without any tab."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Open pages, each in a context of its own; see at the end that none asked the network for anything."""
    contexts, pages = [], []

    def open_page(
        path: Path | None, *, anchor: str = "", width: int = 1400, height: int = 900, **options: Any
    ) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = Opened(context.new_page())
        page.listen()
        if path is not None:
            pages.append(page)
            page.go(path.as_uri() + anchor)
        return page

    yield open_page
    for context in contexts:
        context.close()
    for page in pages:
        assert [address for address in page.requests if not address.startswith(("file:", "blob:"))] == []
