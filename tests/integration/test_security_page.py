"""docs/security.md: each claim has a test that exists; and what is said there of the code as a whole."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
CODE = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in (ROOT / "drm").rglob("*.py")}
_NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def claims() -> list[tuple[str, str]]:
    """Return the rows of the tables that have a column of tests: the claim, and what stands beside it."""
    found: list[tuple[str, str]] = []
    for table in re.findall(r"^\|[^\n]*\| test \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        for line in table.splitlines():
            *claim, tests = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            found.append((" | ".join(claim), tests))
    return found


@cache
def functions_of(name: str) -> set[str]:
    """Return the tests in the file of that name, those of the classes that it builds on included."""
    return {
        node.name
        for file in (ROOT / "tests").rglob(name)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def test_each_claim_has_a_test_that_exists() -> None:
    rows = claims()
    assert len(rows) > 50
    for claim, tests in rows:
        named = _NAMED.findall(tests)
        assert named, f"no test is named beside {claim!r}"
        assert _NAMED.sub("", tests).strip() == "", f"beside {claim!r} is more than tests: {tests}"
        missing = [f"{file}::{test}" for file, test in named if test not in functions_of(file)]
        assert missing == [], claim


def test_a_row_that_names_no_test_would_be_seen() -> None:
    assert all(len(_NAMED.findall(tests)) < 5 for _, tests in claims())
    assert functions_of("test_no_such_file.py") == set()
    assert "test_each_claim_has_a_test_that_exists" in functions_of("test_security_page.py")


@cache
def nodes_of(text: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(text)))


def calls(text: str) -> set[str]:
    """Return the names of all that a module calls: ``a`` of ``x.a()`` and of ``a()``."""
    called = (node.func for node in nodes_of(text) if isinstance(node, ast.Call))
    return {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in called}


def imports(text: str) -> set[str]:
    nodes = nodes_of(text)
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_nothing_listens_but_what_the_page_names() -> None:
    brought = {"socket", "socketserver", "uvicorn", "asyncio", "http.server"}
    opens = {"listen", "bind", "create_server", "start_server", "ThreadingTCPServer", "Server", "HTTPServer"}
    assert {name for name, text in CODE.items() if imports(text) & brought and calls(text) & opens} == {
        "drm/cluster_trust/reception.py",  # of the coordinator, and of a run that buys machines
        "drm/engines/embedded.py",  # a Unix socket
        "drm/engines/ray_engine/node.py",  # sees whether a port is free
        "drm/report_commands/dashboard.py",
    }


def test_what_comes_from_outside_is_never_unpickled() -> None:
    pickles = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    assert {name for name, text in CODE.items() if imports(text) & pickles} == {"drm/worker/once_files.py"}
    assert not [name for name, text in CODE.items() if re.search(r"\byaml\.(load|unsafe_load|full_load)\b", text)]
    assert not [name for name, text in CODE.items() if re.search(r"\bshell=True\b|\bos\.system\b", text)]


def test_each_exception_to_a_rule_of_security_has_its_reason() -> None:
    settings = (ROOT / "ruff.toml").read_text(encoding="utf-8")
    assert '"S",' in settings
    left_out = [line for line in settings.splitlines() if re.search(r'"S(\d{3})?"', line)]
    assert len(left_out) == 8
    assert all(re.search(r"# \w+", line) for line in left_out), left_out
    for name, text in CODE.items():
        for line in text.splitlines():
            if re.search(r"#.*noqa.*\bS\d{3}\b", line):
                assert re.search(r"\bS\d{3} - \w+ \w+", line), f"{name}: {line}"


def test_the_token_is_in_nothing_that_the_two_sides_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'drm-testing[cluster]'")
    from drm.cluster_trust import Answer, Door, handshake, knock, load_credentials, make_trust

    coordinator, worker = make_trust(tmp_path / "cluster", coordinator=[], workers=[])
    said: list[str] = []
    say = handshake.Line.say
    monkeypatch.setattr(handshake.Line, "say", lambda line, message: (said.append(str(message)), say(line, message)))
    with Door("127.0.0.1", 0, load_credentials(coordinator), lambda facts: Answer(granted={"x": 1})) as door:
        for _ in range(2):
            assert knock(*door.address, load_credentials(worker), {"name": "w1"}) == {"x": 1}
    assert len(said) == 6
    assert (worker / "token").read_text() not in "".join(said)
    assert len(set(said)) == 6, "no proof is the same twice"


def test_figures_are_those_that_the_page_names() -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'drm-testing[cluster]'")
    from drm.cluster_commands import coordinator
    from drm.cluster_trust import authority, enrolment, knock, reception
    from drm.engines.ray_engine.membership import Leases
    from drm.engines.silence import SILENT_S
    from drm.model.wire import MAX_FRAME_BYTES
    from drm.worker.report_bounds import MOST

    assert coordinator._parser().parse_args([]).bind == "127.0.0.1"
    assert inspect.signature(knock).parameters["timeout_s"].default == 5.0
    assert (authority.VALID_DAYS, reception._MOST_STRANGERS, enrolment._AGAIN_S) == (365, 256, 30.0)
    assert (SILENT_S, Leases().lease_s) == (15.0, 8.0)
    assert (MAX_FRAME_BYTES, MOST) == (256 * 2**20, 2**20)
