"""Which functions a change touches: the lines that git says differ, and the functions that they lie in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from drm.bench_commands.trees import Tree
from drm.ci_commands.git import answer

__all__ = ["Function", "changed_functions", "functions_at", "parse_hunks"]

_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """``file``: as git names it. ``line``: of its ``def``, decorators before it."""

    file: str
    name: str
    line: int

    def is_called(self, names: Iterable[str]) -> bool:
        """Tell whether one of pstats' names is this function. Those have the last folder of a path only."""
        place = "/".join(Path(self.file).parts[-2:])
        return any(name.endswith(f"{place}:{self.line}({self.name.rpartition('.')[2]})") for name in names)

    def describe(self) -> str:
        return f"{self.file}: {self.name}"


def changed_functions(base: Tree, head: Tree) -> list[Function]:
    """Return the functions of head that differ from base's, by file and line."""
    diff = answer(
        head.folder,
        *("diff", "--unified=0", "--no-color", "--no-ext-diff", "--no-renames"),
        *(base.commit, head.commit, "--", "*.py"),
        what="drm bench compare",
    )
    top = Path(answer(head.folder, "rev-parse", "--show-toplevel", what="drm bench compare").strip())
    found: list[Function] = []
    for file, lines in parse_hunks(diff).items():
        try:
            source = (top / file).read_text(encoding="utf-8")
            found += functions_at(file, source, lines)
        except (OSError, UnicodeDecodeError, SyntaxError):  # it is gone, or no Python that we can read
            continue
    return found


def parse_hunks(diff: str) -> dict[str, set[int]]:
    """Return the new lines per file of a unified diff without context; of a deletion, the lines around it."""
    found: dict[str, set[int]] = {}
    file = ""
    for line in diff.splitlines():
        if line.startswith("+++ "):
            file = line[6:] if line.startswith("+++ b/") else ""
        elif file and (match := _HUNK.match(line)):
            first, count = int(match.group(1)), int(match.group(2) or 1)
            lines = range(first, first + count) if count else range(first, first + 2)
            found.setdefault(file, set()).update(lines)
    return found


def functions_at(file: str, source: str, lines: set[int]) -> Iterator[Function]:
    """Yield the innermost functions that these lines lie in, in order."""
    for name, node in _functions(ast.parse(source), ""):
        inner = {n for _, other in _functions(node, "") for n in range(other.lineno, (other.end_lineno or 0) + 1)}
        own = set(range(node.lineno, (node.end_lineno or node.lineno) + 1)) - inner
        if own & lines:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield Function(file=file, name=name, line=first)


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            yield from _functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        else:
            yield from _functions(node, prefix)
