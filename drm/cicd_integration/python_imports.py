"""What the text of a Python file says that it depends on. Read, never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

__all__ = ["NOTHING", "Facts", "facts_of"]

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_FILE_NAME = re.compile(r"[\w.+-]+\.\w+")
_IMPORTERS = frozenset({"import_module", "__import__", "importorskip"})
_LONGEST = 200  # characters of a text that is looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """``imports``: dots before the name (0: absolute), and the name: of modules, and of what is taken from them.

    ``packages``: any module of these may be imported, by a name made at run time. ``run``: what follows ``-m`` in a
    list of arguments. ``names``: dotted texts, which could name a module; ``files``: file names in texts.
    """

    imports: frozenset[tuple[int, str]] = frozenset()
    packages: frozenset[str] = frozenset()
    run: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    @property
    def libraries(self) -> frozenset[str]:
        """The first parts of the absolute imports: ``torch`` of ``torch.nn``."""
        return frozenset(name.partition(".")[0] for level, name in self.imports if not level and name)


NOTHING = Facts()


def facts_of(source: bytes) -> Facts:
    """Return the facts of a file; none if it is no Python.

    Imports count wherever they stand, in functions too, but not those for type checkers (``if TYPE_CHECKING:``).
    """
    try:
        reader = _Reader()
        for node in _nodes(ast.parse(source)):
            reader.read(node)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return NOTHING
    texts = reader.texts
    files = (text.rpartition("/")[2] for text in texts if "." in text)
    return Facts(
        imports=frozenset(reader.imports),
        packages=frozenset(reader.packages),
        run=frozenset(reader.run),
        names=frozenset(text for text in texts if _DOTTED.fullmatch(text)),
        files=frozenset(name for name in files if _FILE_NAME.fullmatch(name)),
    )


@dataclass(slots=True)
class _Reader:
    imports: set[tuple[int, str]] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)
    run: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)

    def read(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and 1 < len(node.value) <= _LONGEST:
                self.texts.add(node.value)
        elif isinstance(node, ast.Import):
            self.imports.update((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # ``from a import b`` is a.b too, because b may be a module.
            base = node.module or ""
            names = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names if alias.name != "*")]
            self.imports.update((node.level, name) for name in names)
        elif isinstance(node, ast.List | ast.Tuple):
            self._arguments(node.elts)
        elif isinstance(node, ast.Call):
            self._arguments(node.args)
            if node.args and _called(node) in _IMPORTERS:
                self._imported(node.args[0])

    def _arguments(self, given: list[ast.expr]) -> None:
        for option, value in pairwise(given):
            if _text(option) == "-m" and (name := _text(value)):
                self.run.add(name)

    def _imported(self, name: ast.expr) -> None:
        if text := _text(name):
            self.imports.add((0, text))
        elif isinstance(name, ast.JoinedStr) and name.values:
            package, dot, _ = _text(name.values[0]).rpartition(".")
            self.packages.update([package] if dot else [])


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only a type checker sees."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in (getattr(node.test, name, "") for name in ("id", "attr")):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
