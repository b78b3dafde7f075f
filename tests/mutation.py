"""Do the unit tests of a deciding package notice when its code is changed?

``python tests/mutation.py [PACKAGE ...] [--sample 250] [--seed 1] [--again]`` makes one change after another (those of
cosmic-ray), runs the package's unit tests on each and lists the changes that no test noticed.

A place in the code is drawn, then one of the changes at it: most changes are of the kind "+ becomes >>", which any
test notices. The draw goes by a hash of the line, so edits elsewhere leave it as it is. What does nothing is not drawn
(see ``Working``). ``equivalent_mutants.txt`` has the changes that no test could notice, with the reason. No file is
touched: a fork of a process that has imported what the tests need, all but the code under test, loads the new source.
What survived is left in ``reports/mutation/PACKAGE.json``; ``--again`` tries only that.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import difflib
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import coverage
import hypothesis
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("resource_optimizer", "resource_performance_predictor", "dynamic_resource_manager")
FOUND = ROOT / "reports" / "mutation"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mutant:
    """A change of a file: the lines it differs in, and its source."""

    file: str
    line: int
    change: str
    source: str

    def __str__(self) -> str:
        return f"{self.file} | {self.change}"


class Working(ast.NodeTransformer):
    """Leaves of a module what does something: not annotations, nor what only forbids.

    That are the marks ``*`` and ``/`` of a signature, those of a dataclass (``test_house.py`` looks after them), and
    ``strict`` of a zip. ``is`` and ``==`` are the same for what they are used for here: None and members of an enum.
    """

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults += [default for default in node.kw_defaults if default]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(arg=node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call):
                mark.keywords = [each for each in mark.keywords if each.arg not in ("frozen", "slots", "kw_only")]
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [each for each in node.keywords if each.arg != "strict"]
        return self.generic_visit(node)

    def visit_Is(self, node: ast.Is) -> ast.AST:
        return ast.Eq()

    def visit_IsNot(self, node: ast.IsNot) -> ast.AST:
        return ast.NotEq()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant("")
        return self.generic_visit(node)

    @classmethod
    def of(cls, source: str) -> str:
        return ast.dump(cls().visit(ast.parse(source)))


def draw(package: str, sample: int, seed: int) -> list[Mutant]:
    """Return the changes that are tried."""
    ranked = []
    for path in sorted((ROOT / "drm" / package).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        seen: Counter[str] = Counter()
        for line, changes in places(source).items():
            text = source.splitlines()[line[0][0] - 1].strip()
            seen[text] += 1
            place = f"{seed} {path.name} {text} {seen[text]}"
            changes.sort(key=lambda change, place=place: digest(f"{place} {change[0]}"))
            ranked.append((digest(place), path, changes))
    drawn: list[Mutant] = []
    for _, path, changes in sorted(ranked):
        made = (make(path, operator, occurrence) for operator, occurrence in changes)
        drawn += [mutant for mutant in made if mutant][:1]
        if len(drawn) == sample:
            break
    return drawn


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def places(source: str) -> dict[Any, list[tuple[str, int]]]:
    """Return the changes that there are at each place, as operator and occurrence."""
    tree = get_ast(source)
    found: dict[Any, list[tuple[str, int]]] = defaultdict(list)
    for name in operator_names():
        if not get_operator(name).arguments():
            operator = get_operator(name)()
            spans = (span for node in ast_nodes(tree) for span in operator.mutation_positions(node))
            for occurrence, span in enumerate(spans):
                found[span].append((name, occurrence))
    return dict(sorted(found.items()))


def make(path: Path, operator: str, occurrence: int) -> Mutant | None:
    """Return the change, or None when it is no Python or changes nothing that is executed."""
    before = path.read_text(encoding="utf-8")
    after = str(mutate_code(before, get_operator(operator)(), occurrence))
    try:
        if Working.of(before) == Working.of(after):
            return None
    except SyntaxError:
        return None
    differing = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    change = [" ".join(text[2:].strip() for text in differing if text.startswith(sign)) for sign in ("- ", "+ ")]
    line = next(i for i, (a, b) in enumerate(zip(before.splitlines(), after.splitlines(), strict=False), 1) if a != b)
    file = path.relative_to(ROOT).as_posix()
    return Mutant(file=file, line=line, change=" -> ".join(change), source=after)


class Changed(importlib.abc.MetaPathFinder):
    """Loads one module from a changed source."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.name = mutant.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        file, source = str(ROOT / self.mutant.file), self.mutant.source

        class Loader(SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType:
                return compile(source, file, "exec")

        return importlib.util.spec_from_file_location(fullname, file, loader=Loader(fullname, file))


class Look:
    """A plugin of pytest that notes how long each test takes, and which lines of the code under test it reaches."""

    def __init__(self, package: str) -> None:
        self.took_s: Counter[str] = Counter()
        self.coverage = coverage.Coverage(data_file=None, config_file=False, include=[f"{ROOT}/drm/{package}/*"])

    def pytest_configure(self) -> None:
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.coverage.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took_s[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        reached = {str(Path(file).relative_to(ROOT)): data.contexts_by_lineno(file) for file in data.measured_files()}
        outside = [name for name, module in sys.modules.items() if str(ROOT) not in str(module)]
        warm = [*outside, *(name for name in sys.modules if name.startswith("drm.model"))]
        seen = {"took_s": self.took_s, "reached": reached, "warm": warm}
        (FOUND / "tests.json").write_text(json.dumps(seen), encoding="utf-8")


class Quick:
    """A plugin of pytest that runs the tests of the files that reach a change, first those that do so and are quick.

    Hypothesis does not search for a smaller example than the one that failed.
    """

    def __init__(self, mutant: Mutant, seen: dict[str, Any]) -> None:
        self.took_s = seen["took_s"]
        reached = {int(line): tests for line, tests in seen["reached"].get(mutant.file, {}).items()}
        body = enclosing(mutant)
        self.reach = set(self.took_s) if body is None else {test for line in body for test in reached.get(line, ())}
        self.files = {test.partition("::")[0] for test in self.reach}

    def pytest_configure(self) -> None:
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile("mutation", hypothesis.settings(), phases=phases)
        hypothesis.settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: (item.nodeid not in self.reach, self.took_s.get(item.nodeid, 0.0)))


def enclosing(mutant: Mutant) -> range | None:
    """Return the lines of the function that a change is in; None where any test may reach it."""
    tree = ast.parse((ROOT / mutant.file).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    if any("cache" in ast.unparse(mark) for node in functions for mark in node.decorator_list):
        return None  # the first test that calls such a function is not the only one that goes by what it returned
    bodies = [range(node.body[0].lineno, (node.end_lineno or 0) + 1) for node in functions]
    return min((body for body in bodies if mutant.line in body), key=len, default=None)


def in_a_fork(tests: Iterable[str], plugin: object, mutant: Mutant | None, limit_s: int) -> int:
    """Run tests in a fork, with that much CPU time; return its wait status, 0 when all passed."""
    child = os.fork()
    if not child:
        os.setsid()
        if mutant:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            sys.meta_path.insert(0, Changed(mutant))
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
        resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))  # a loop that never ends may take memory
        ended = pytest.main([*tests, "-x", "-q", "-p", "no:cacheprovider"], plugins=[plugin])
        sys.stdout.flush()
        os._exit(ended)
    until = time.monotonic() + 10 * limit_s
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def survivors(package: str, mutants: list[Mutant]) -> list[Mutant]:
    """Return the changes on which all unit tests pass."""
    if in_a_fork([f"tests/unit/{package}"], Look(package), None, 600):
        sys.exit(f"{package}: its unit tests fail as it is")
    limit_s = 10 + 2 * int(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime)
    seen = json.loads((FOUND / "tests.json").read_text(encoding="utf-8"))
    for name in seen["warm"]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    alive = []
    for number, mutant in enumerate(mutants, 1):
        quick = Quick(mutant, seen)
        if not quick.files or in_a_fork(sorted(quick.files), quick, mutant, limit_s) == 0:
            alive.append(mutant)
            print(f"{number} of {len(mutants)}: {mutant}{'' if quick.reach else ' (no test reaches it)'}", flush=True)
    return alive


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(PACKAGES)}; all, if none is named"
    )
    parser.add_argument("--sample", type=int, default=250, help="how many changes of a package (default: 250)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="only the changes that survived the last time")
    asked = parser.parse_args()
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.path.insert(0, str(ROOT))
    FOUND.mkdir(parents=True, exist_ok=True)
    rows = [line.rsplit(" | ", 1)[0] for line in EQUIVALENT.read_text(encoding="utf-8").splitlines()]
    for package in asked.packages or PACKAGES:
        kept = FOUND / f"{package}.json"
        mutants = draw(package, asked.sample, asked.seed)
        if asked.again:
            last = set(json.loads(kept.read_text(encoding="utf-8")))
            mutants = [mutant for mutant in mutants if str(mutant) in last]
        alive = [str(mutant) for mutant in survivors(package, mutants)]
        kept.write_text(json.dumps(alive, indent=1), encoding="utf-8")
        killed, equivalent = len(mutants) - len(alive), len(set(alive) & set(rows))
        print(
            f"{package}: {killed} of {len(mutants)} noticed ({killed / len(mutants):.1%}); {equivalent} make no "
            f"difference, so {killed} of {len(mutants) - equivalent} ({killed / (len(mutants) - equivalent):.1%})"
        )


if __name__ == "__main__":
    main()
