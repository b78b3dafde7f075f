"""``drm_once``: a value that is made once per run and shared by all processes that run its tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drm.model.errors import ConfigError
from drm.worker.once_files import NOTHING, Factory, SharedValue, Teardown, once_folder


class Once:
    """Without a ``folder`` a cache of this process: then no other one needs the values."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, Any] = {}
        self._failed: dict[str, Exception] = {}
        self._making = ""
        self._teardowns: list[Callable[[], object]] = []

    def __call__(self, name: str, factory: Factory, teardown: Teardown | None = None) -> Any:
        """Return the value called ``name``: what ``factory()`` returned, in whichever process was first.

        ``teardown(value)`` is called at the end of the run, once. An exception of the factory is raised in every test
        that asks for the value.
        """
        if name in self._known:
            return self._known[name]
        if name in self._failed:
            raise self._failed[name].with_traceback(None)
        if self._making:
            # Who is given the outer value would be no user of the inner one, which could then end before it.
            raise ConfigError(
                f"drm_once {name!r} is asked for by the factory of {self._making!r}",
                remedy="ask for it in the fixture, before, and use its value in the factory",
            )
        self._making = name
        try:
            value = factory() if self._folder is None else self._shared(self._folder, name, factory, teardown)
        except Exception as error:
            self._failed[name] = error
            raise
        finally:
            self._making = ""
        self._known[name] = value
        if self._folder is None and teardown is not None:
            self._teardowns.append(lambda: teardown(value))
        return value

    def _shared(self, folder: Path, name: str, factory: Factory, teardown: Teardown | None) -> Any:
        place = SharedValue(folder, name)
        with place.locked():
            value = place.read()
            if value is NOTHING:
                value = place.make(factory, teardown)
            users = place.use()
        self._teardowns.append(lambda: place.leave(users, value, teardown))
        return value

    def close(self) -> None:
        """Tear down what nobody else uses, the last made first; all of it, although one may fail."""
        errors: list[Exception] = []
        while self._teardowns:
            try:
                self._teardowns.pop()()
            except Exception as error:
                errors.append(error)
        self._known.clear()
        if errors:
            raise errors[0] if len(errors) == 1 else ExceptionGroup("several drm_once teardowns failed", errors)


def folder_of(config: pytest.Config) -> Path | None:
    """Return the folder in which the processes of this run share values; None where there is only this one."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is None:
        return None
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is None:
        raise ConfigError("drm_once shares values through pytest's temp folder", remedy="run without -p no:tmpdir")
    return once_folder(factory.getbasetemp().parent, worker["testrunuid"])
