"""Which test files a change may reach, and why: over imports, conftest.py, configuration and files named in texts.

Pure, and from the text of the files alone: what a program decides at run time is not seen (docs/analyze.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from drm.cicd_integration.configuration import is_configuration
from drm.cicd_integration.import_graph import ImportGraph, folders_above
from drm.cicd_integration.python_imports import Facts

__all__ = ["Reach", "Reason", "reach_of"]

_EVERYWHERE = frozenset({"__init__.py", "__main__.py", "conftest.py"})  # a text with such a name means no one file


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a test file is reached. ``chain``: the files from it to the one that changed; ``how``: the first step."""

    how: str
    chain: tuple[str, ...]

    def __str__(self) -> str:
        if self.how == "itself":
            return "it changed"
        way = self.chain[1:]
        shown = way if len(way) <= 3 else (way[0], f"({len(way) - 2} more)", way[-1])
        return f"{self.how} {' -> '.join(shown)}, which changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """``reasons``: of every test file that is reached. ``without``: changed files that reach none."""

    reasons: Mapping[str, Reason]
    without: tuple[str, ...] = ()


def reach_of(
    changed: Collection[str],
    tests: Iterable[str],
    facts: Mapping[str, Facts],
    roots: Iterable[str],
    *,
    harmless: Collection[str] = (),
) -> Reach:
    """Return which of the test files ``tests`` the ``changed`` files may reach.

    ``facts``: of all Python files of the repository; changed ones that are gone need not be there. ``roots``: folders
    in which Python looks for modules. ``harmless``: changed files of configuration in which nothing that tests are run
    with has changed. A reason is the shortest chain; of equal ones the first by name.
    """
    test_files = sorted(set(tests))
    known = {**{file: Facts() for file in changed if file.endswith(".py")}, **facts}
    graph = ImportGraph(known, roots)
    steps = _Steps()
    for file in known:
        for target in graph.imported_by(file):
            steps.add(file, target, "imports")
    for file in test_files:
        for folder in folders_above(file):
            conftest = f"{folder}/conftest.py" if folder else "conftest.py"
            if conftest in known and conftest != file:
                steps.add(file, conftest, "is below")
    for file in sorted(changed):
        if file not in harmless and is_configuration(file.rpartition("/")[2]):
            for test in _below(file.rpartition("/")[0], test_files):
                steps.add(test, file, "is configured by")
        else:
            _add_other_steps(steps, file, test_files, known, graph)
    reasons, used = steps.walk(sorted(changed), frozenset(test_files))
    return Reach(reasons=reasons, without=tuple(sorted(set(changed) - used)))


class _Steps:
    """Who depends on whom, from the depended-on side."""

    def __init__(self) -> None:
        self._back: dict[str, dict[str, str]] = {}

    def add(self, file: str, target: str, how: str) -> None:
        self._back.setdefault(target, {}).setdefault(file, how)

    def walk(self, changed: Sequence[str], tests: frozenset[str]) -> tuple[dict[str, Reason], set[str]]:
        """Go from what changed to all that depends on it, breadth first; return the tests' reasons and what led to any.

        The second search, from each changed file on its own, is only for those that no reason names.
        """
        reasons = self._search(changed, tests)
        used = {reason.chain[-1] for reason in reasons.values()}
        return reasons, used | {file for file in changed if file not in used and self._search([file], tests, one=True)}

    def _search(self, start: Sequence[str], tests: frozenset[str], *, one: bool = False) -> dict[str, Reason]:
        towards: dict[str, tuple[str, str]] = dict.fromkeys(start, ("", "itself"))
        reasons: dict[str, Reason] = {}
        queue = deque(start)
        while queue:
            file = queue.popleft()
            if file in tests:
                reasons[file] = Reason(how=towards[file][1], chain=_chain(file, towards))
                if one:
                    break
            for dependant, how in sorted(self._back.get(file, {}).items()):
                if dependant not in towards:
                    towards[dependant] = (file, how)
                    queue.append(dependant)
        return reasons


def _chain(file: str, towards: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    chain = [file]
    while following := towards[chain[-1]][0]:
        chain.append(following)
    return tuple(chain)


def _add_other_steps(
    steps: _Steps, file: str, tests: Sequence[str], facts: Mapping[str, Facts], graph: ImportGraph
) -> None:
    """Add who depends on a changed file other than by importing it, and not by being configured by it.

    A file that some text names: that text's file. Another file than Python: the package that holds it; else the tests
    below its folder, or the nearest above (not the top).
    """
    *above, folder = folders_above(file)
    name = file.rpartition("/")[2]
    if name not in _EVERYWHERE:
        for other, its in facts.items():
            if name in its.files and other != file:
                steps.add(other, file, "names")
    if file.endswith(".py"):
        return
    package = graph.package_of(file)
    if package is not None:
        steps.add(package, file, "is the package of")
        return
    for place in (folder, *reversed(above)):
        below = _below(place, tests) if place else []
        for test in below:
            steps.add(test, file, "lies beside")
        if below:
            return


def _below(folder: str, tests: Sequence[str]) -> list[str]:
    return [test for test in tests if not folder or test.startswith(folder + "/")]
