"""Calling the hooks of a test as pluggy does, in code made for what is registered instead of worked out at each call.

What is called, in which order, and what becomes of results and exceptions is pluggy's own rule
(https://pluggy.readthedocs.io, "Wrappers" and "First result only"): wrappers go around all others; each is given
the result of what it is around, or has the exception raised at its ``yield``, and what it returns or raises counts
from there on. On tests that do nothing, pluggy's general way is a seventh of an executor's time.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator, Sequence
from types import CodeType
from typing import Any

import pytest

__all__ = ["prepared_calls"]

_OF_A_TEST = (
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
    "pytest_runtest_call",
    "pytest_runtest_teardown",
    "pytest_runtest_makereport",
    "pytest_pyfunc_call",
)
_PREPARED = pytest.StashKey[dict[tuple[Any, ...], Callable[..., Any] | None]]()
_MOST_WRAPPERS = 15  # Python nests 20 blocks
_NO_FILE = "<a hook's call>"  # pytest leaves what is of no file out of tracebacks, as it does pluggy


def prepared_calls(config: pytest.Config, hooks: Any) -> dict[str, Callable[..., Any]]:
    """Return, by name, how to call the hooks of a test; ``hooks`` is what pluggy would call them on.

    Left out are hooks that it takes pluggy to call: with a wrapper in its old style, or while calls are watched.
    When a plugin comes or goes, the calls are pluggy's again.
    """
    if getattr(getattr(config.pluginmanager, "_inner_hookexec", None), "__name__", "") != "_multicall":
        return {}
    known = config.stash.setdefault(_PREPARED, {})
    calls: dict[str, Callable[..., Any]] = {}
    for name in _OF_A_TEST:
        hook, whole = getattr(hooks, name), getattr(config.hook, name)  # the whole: also of other folders' conftest.py
        key = (name, *hook.get_hookimpls(), None, *whole.get_hookimpls())
        if key not in known:
            known[key] = _prepare(config, hook, whole)
        call = known[key]
        if call is not None:
            calls[name] = call
    return calls


def _prepare(config: pytest.Config, hook: Any, whole: Any) -> Callable[..., Any] | None:
    entries = [entry for entry in reversed(hook.get_hookimpls()) if not _is_idle(config, hook.name, entry)]
    wrappers = [entry for entry in entries if entry.wrapper]
    others = [entry for entry in entries if not entry.wrapper]
    is_odd = any(entry.hookwrapper or getattr(entry, "kwargnames", ()) for entry in entries)
    if is_odd or len(wrappers) > _MOST_WRAPPERS or getattr(hook.spec, "kwargdefaults", None):
        return None
    names: dict[str, Any] = {
        **{f"wrapper_{number}": entry.function for number, entry in enumerate(wrappers)},
        **{f"plain_{number}": entry.function for number, entry in enumerate(others)},
        "registered": whole.get_hookimpls,
        "known": whole.get_hookimpls(),
        "by_pluggy": hook,
        "thrown": _thrown,
        "did_not_end": _did_not_end,
        "did_not_yield": _did_not_yield,
    }
    source = _source(
        tuple(hook.spec.argnames),
        tuple(tuple(entry.argnames) for entry in wrappers),
        tuple(tuple(entry.argnames) for entry in others),
        bool(hook.spec.opts.get("firstresult")),
    )
    exec(_compiled(source), names)  # noqa: S102 - made above, of the names of arguments; as dataclasses makes __init__
    call: Callable[..., Any] = names["call"]
    return call


def _is_idle(config: pytest.Config, name: str, entry: Any) -> bool:
    """Tell whether an implementation of pytest's own does nothing in this run: two of those around every test."""
    if name != "pytest_runtest_protocol":
        return False
    if entry.function.__module__ == "_pytest.faulthandler":
        return not float(config.getini("faulthandler_timeout") or 0)
    return entry.function.__module__ == "_pytest.unittest" and "twisted.trial.unittest" not in sys.modules


@functools.cache
def _compiled(source: str) -> CodeType:
    return compile(source, _NO_FILE, "exec")


def _source(
    arguments: Sequence[str], wrappers: Sequence[Sequence[str]], others: Sequence[Sequence[str]], first: bool
) -> str:
    """Return a function ``call``. ``wrappers``, ``others``: the arguments of each, in the order in which they run."""
    lines = [
        f"def call(*, {', '.join(arguments)}):",
        " __tracebackhide__ = True",
        " if registered() != known:",
        f"  return by_pluggy({', '.join(f'{name}={name}' for name in arguments)})",
    ]
    for depth, wanted in enumerate(wrappers):
        lines += [
            f"generator_{depth} = wrapper_{depth}({', '.join(wanted)})",
            f"for _ in generator_{depth}:",
            " break",
            "else:",
            f" did_not_yield(generator_{depth})",
            "try:",
        ]
        lines[-6:] = [" " * (depth + 1) + line for line in lines[-6:]]
    innermost = " " * (len(wrappers) + 1)
    lines.append(innermost + ("result = None" if first else "result = []"))
    for number, wanted in enumerate(others):
        called = f"plain_{number}({', '.join(wanted)})"
        if first:
            lines += [f"{innermost}if result is None:", f"{innermost} result = {called}"]
        else:
            lines += [f"{innermost}given = {called}", f"{innermost}if given is not None:"]
            lines += [f"{innermost} result.append(given)"]
    for depth in reversed(range(len(wrappers))):
        ending = [
            "except BaseException as error:",
            f" result = thrown(generator_{depth}, error)",
            "else:",
            " try:",
            f"  generator_{depth}.send(result)",
            " except StopIteration as end:",
            "  result = end.value",
            " else:",
            f"  did_not_end(generator_{depth})",
        ]
        lines += [" " * (depth + 1) + line for line in ending]
    return "\n".join([*lines, " return result"])


def _thrown(wrapper: Generator[None, Any, Any], failure: BaseException) -> Any:
    """Raise the failure at the wrapper's ``yield``; return what it makes of it, if it does not raise."""
    __tracebackhide__ = True
    try:
        wrapper.throw(failure)
    except StopIteration as end:
        return end.value
    except RuntimeError as error:
        if not (isinstance(failure, StopIteration) and error.__cause__ is failure):  # else it is PEP 479's doing
            raise
    else:
        _did_not_end(wrapper)
    wrapper.close()
    raise failure


def _did_not_yield(wrapper: Generator[None, Any, Any]) -> None:
    raise RuntimeError(f"the hook wrapper {wrapper} did not yield")


def _did_not_end(wrapper: Generator[None, Any, Any]) -> None:
    wrapper.close()
    raise RuntimeError(f"the hook wrapper {wrapper} has a second yield")


for _function in (_thrown, _did_not_yield, _did_not_end):
    _function.__code__ = _function.__code__.replace(co_filename=_NO_FILE)
