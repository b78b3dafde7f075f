"""Hooks called in prepared code do what pluggy makes of them: the same calls, results and exceptions."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drm.worker.hook_calls import prepared_calls

hookspec, hookimpl = pluggy.HookspecMarker("pytest"), pluggy.HookimplMarker("pytest")
LISTS, FIRST = "pytest_runtest_setup", "pytest_pyfunc_call"


class Specs:
    @hookspec
    def pytest_runtest_setup(self, item: Any) -> None: ...

    @hookspec
    def pytest_runtest_call(self, item: Any) -> None: ...

    @hookspec
    def pytest_runtest_teardown(self, item: Any, nextitem: Any) -> None: ...

    @hookspec(firstresult=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> Any: ...

    @hookspec(firstresult=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any: ...

    @hookspec(firstresult=True)
    def pytest_pyfunc_call(self, pyfuncitem: Any) -> Any: ...


class Plain:
    def __init__(self, log: list[Any], number: int, does: str) -> None:
        self.log, self.number, self.does = log, number, does

    def act(self, value: Any) -> Any:
        self.log.append((self.number, value))
        if self.does == "raise":
            raise ValueError(self.number)
        if self.does == "stop":
            raise StopIteration(self.number)
        return None if self.does == "nothing" else self.number

    @hookimpl
    def pytest_runtest_setup(self, item: Any) -> Any:
        return self.act(item)

    @hookimpl
    def pytest_pyfunc_call(self, pyfuncitem: Any) -> Any:
        return self.act(pyfuncitem)


class Wrapper(Plain):
    def around(self, value: Any) -> Any:
        self.log.append((self.number, "before", value))
        if self.does == "raise early":
            raise KeyError(self.number)
        if self.does == "not at all":
            return self.number
        try:
            result = yield
        except BaseException as error:
            self.log.append((self.number, type(error), () if type(error) is RuntimeError else error.args))
            if self.does == "swallow":
                return "swallowed"
            if self.does == "raise another":
                raise LookupError(self.number) from error
            raise
        self.log.append((self.number, "after", result))
        if self.does == "raise late":
            raise KeyError(self.number)
        if self.does == "twice":
            yield
        return [result, self.number] if self.does == "replace" else result

    @hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: Any) -> Any:
        return (yield from self.around(item))

    @hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: Any) -> Any:
        return (yield from self.around(pyfuncitem))


class Unended(Plain):
    """Its wrapper has a way out without a ``yield``: only a function that is the generator itself can."""

    @hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: Any) -> Any:
        self.log.append((self.number, item))
        if self.number < 0:
            yield


PLAIN = st.sampled_from(["nothing", "value", "raise", "stop"])
AROUND = st.sampled_from(["pass", "swallow", "replace", "raise early", "raise late", "raise another", "not at all"])
KINDS = st.one_of(
    st.tuples(st.just(Plain), PLAIN), st.tuples(st.just(Wrapper), AROUND), st.tuples(st.just(Unended), st.just(""))
)


def config_of(manager: pluggy.PluginManager) -> Any:
    return SimpleNamespace(
        pluginmanager=manager, hook=manager.hook, stash=pytest.Stash(), getini=lambda _: 0, getoption=lambda _: None
    )


def made_of(kinds: list[tuple[type[Plain], str]]) -> tuple[pluggy.PluginManager, list[Any]]:
    manager = pluggy.PluginManager("pytest")
    manager.add_hookspecs(Specs)
    log: list[Any] = []
    for number, (kind, does) in enumerate(kinds):
        manager.register(kind(log, number, does))
    return manager, log


def outcome(call: Any, log: list[Any]) -> tuple[Any, ...]:
    log.clear()
    try:
        ended: tuple[Any, ...] = ("returned", call())
    except BaseException as error:
        cause = error.__cause__
        ended = ("raised", type(error), error.args if type(error) is not RuntimeError else (), type(cause))
    return (*ended, list(log))


@given(st.lists(KINDS, max_size=6))
def test_calls_results_and_exceptions_are_pluggy_s(kinds: list[tuple[type[Plain], str]]) -> None:
    manager, log = made_of(kinds)
    calls = prepared_calls(config_of(manager), manager.hook)
    for name, argument in ((LISTS, "item"), (FIRST, "pyfuncitem")):
        by_pluggy = outcome(functools.partial(getattr(manager.hook, name), **{argument: "it"}), log)
        assert outcome(functools.partial(calls[name], **{argument: "it"}), log) == by_pluggy


def test_a_plugin_that_comes_or_goes_later_counts_at_once() -> None:
    manager, log = made_of([(Plain, "value")])
    call = prepared_calls(config_of(manager), manager.hook)[LISTS]
    late = Wrapper(log, 7, "replace")
    manager.register(late)
    assert call(item="it") == [[0], 7]
    manager.unregister(late)
    assert call(item="it") == [0]


def test_what_takes_pluggy_to_call_is_left_to_it() -> None:
    manager, _ = made_of([])

    class Old:
        @hookimpl(hookwrapper=True)
        def pytest_runtest_setup(self) -> Any:
            yield

    manager.register(Old())
    calls = prepared_calls(config_of(manager), manager.hook)
    assert LISTS not in calls
    assert FIRST in calls
    undo = manager.add_hookcall_monitoring(lambda *_: None, lambda *_: None)
    assert not prepared_calls(config_of(manager), manager.hook)
    undo()
    assert prepared_calls(config_of(manager), manager.hook)


def test_a_second_yield_is_an_error() -> None:
    manager, _ = made_of([(Wrapper, "twice")])
    with pytest.raises(RuntimeError, match="second yield"):
        prepared_calls(config_of(manager), manager.hook)[LISTS](item="it")


def test_an_excluded_plugin_is_not_called() -> None:
    """As conftest.py files are for tests of other folders."""
    manager, log = made_of([(Plain, "value"), (Plain, "value")])
    plugins = [plugin for plugin in manager.get_plugins() if isinstance(plugin, Plain)]
    left_out = next(plugin for plugin in plugins if plugin.number == 1)
    hooks = SimpleNamespace(
        **{name: manager.subset_hook_caller(name, [left_out]) for name in vars(Specs) if name.startswith("pytest_")}
    )
    assert prepared_calls(config_of(manager), hooks)[LISTS](item="it") == [0]
    assert log == [(0, "it")]
