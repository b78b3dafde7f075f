"""What plugins see of executors on the controller: pytest-xdist's nodes, and the two hooks that are given them.

https://pytest-xdist.readthedocs.io, "newhooks": ``pytest_configure_node(node)`` before an executor starts, which may
add to ``node.workerinput``, and ``pytest_testnodedown(node, error)`` when it has ended, with ``node.workeroutput``.
They are called where a plugin has them, whether pytest-xdist is installed or not.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from drm.model.errors import ConfigError
from drm.worker.identity import worker_input
from drm.worker.suite import Suite


class Node:
    """One executor under the names of pytest-xdist's WorkerController. It has ``workeroutput`` when it gave some."""

    workeroutput: dict[str, Any]

    def __init__(self, config: pytest.Config, workerinput: dict[str, Any]) -> None:
        self.config = config
        self.workerinput = workerinput
        self.gateway = SimpleNamespace(id=workerinput["workerid"])

    def __repr__(self) -> str:
        return f"<Node {self.gateway.id}>"


class Nodes:
    """The executors of a run, by id."""

    def __init__(self, config: pytest.Config, suite: Suite, say: Callable[[str], None]) -> None:
        self._config = config
        self._suite = suite
        self._say = say
        self._nodes: dict[str, Node] = {}

    def up(self, executor_id: str) -> dict[str, Any]:
        """Make the node of an executor that is to be started; return its ``workerinput``."""
        given = {**worker_input(self._suite.identity(executor_id)), **_expected_by_plugins(self._config)}
        node = self._nodes[executor_id] = Node(self._config, given)
        self._call("pytest_configure_node", node=node)
        try:
            json.dumps(node.workerinput)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"workerinput of {executor_id}: {error}", remedy="put only texts, numbers, lists and dicts into it"
            ) from None
        return node.workerinput

    def down(self, executor_id: str, output: dict[str, Any], error: str) -> None:
        """The executor has ended, with ``error`` if it died."""
        node = self._nodes[executor_id]
        if output:
            node.workeroutput = output
        try:
            self._call("pytest_testnodedown", node=node, error=error or None)
        except Exception as failure:  # no reason to lose a run whose tests have ended
            self._say(f"a plugin's pytest_testnodedown failed for {executor_id}: {failure!r}")

    def collecting(self) -> Suite:
        """Return the suite with what plugins want of a process that collects it, and is no executor."""
        return replace(self._suite, given=self.up("zygote"))

    def _call(self, name: str, **arguments: Any) -> None:
        if hasattr(self._config.hook, name):
            manager = self._config.pluginmanager
            # pytest-cov has the hooks, and no use for them: here its controller is the one for a single process.
            manager.subset_hook_caller(name, [manager.get_plugin("_cov")])(**arguments)


def _expected_by_plugins(config: pytest.Config) -> dict[str, Any]:
    """Return what pytest-cov and pytest-randomly want of a worker that collects for itself.

    They hand it over themselves only where pytest-xdist distributes the tests.
    """
    expected: dict[str, Any] = {"cov_master_host": socket.gethostname(), "cov_master_topdir": os.getcwd()}
    seed = config.getoption("randomly_seed", None)
    return {**expected, "randomly_seed": seed} if seed is not None else expected


def arguments_for_plugins(config: pytest.Config) -> tuple[str, ...]:
    """Return what a process that collects must be told besides our own arguments.

    pytest-cov, where it is started, erases the data of all others: here those of executors that have ended.
    """
    return ("--cov-append",) if config.pluginmanager.has_plugin("_cov") else ()
