"""Collecting the suite in a process of its own, and forking or being an executor from there."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from drm.model.work import unique_ids
from drm.worker.channel import Channel
from drm.worker.executor import Executor
from drm.worker.identity import Identity, become_worker, leave_controller, set_worker_input, shed_capture, silence
from drm.worker.pools import ThreadPools
from drm.worker.shortcuts import protocol_of
from drm.worker.stacks import write_on_signal
from drm.worker.threads import fork
from drm.worker.zygote import Zygote


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """How the controller was started, so that another process collects the same tests.

    ``given``: what plugins want to find in the ``workerinput`` of a zygote that collects.
    """

    args: tuple[str, ...]
    cwd: str
    sys_path: tuple[str, ...]
    run_id: str
    executor_count: int
    basetemp: str
    max_failures: int = 0  # so many end an executor's work (pytest's --maxfail, unless failures are tried again)
    given: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Suite:
        data = json.loads(text)
        return cls(**{**data, "args": tuple(data["args"]), "sys_path": tuple(data["sys_path"])})

    def identity(self, executor_id: str, given: Mapping[str, Any] | None = None) -> Identity:
        return Identity(
            executor_id=executor_id,
            executor_count=self.executor_count,
            run_id=self.run_id,
            basetemp=self.basetemp,
            given=self.given if given is None else given,
        )


def items_of(session: pytest.Session) -> dict[str, pytest.Item]:
    """Return the collected tests by the ids that all processes of a run know them by."""
    return dict(zip(unique_ids(item.nodeid for item in session.items), session.items, strict=True))


def fork_zygote(
    session: pytest.Session,
    items: Mapping[str, pytest.Item],
    suite: Suite,
    control: socket.socket,
    foreign: socket.socket,
) -> int:
    """Fork a zygote from a process that has collected; return its pid."""
    config = session.config
    capture = config.pluginmanager.get_plugin("capturemanager")
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            stream.flush()  # or the child would print it again
    if capture is not None:
        capture.suspend_global_capture(in_=False)
    pid = fork()
    if pid == 0:
        foreign.close()
        shed_capture(config)
        run_zygote(session, items, suite, control)
    return pid


def run_zygote(session: pytest.Session, items: Mapping[str, pytest.Item], suite: Suite, control: socket.socket) -> None:
    """Become a zygote; never returns. What is the same for all executors is done here, once."""
    leave_controller(session.config)
    protocol_of(session.config)  # compiled here for all
    threads = ThreadPools(os.environ)
    threads.bound(1.0)  # mostly what is wanted; each executor that loads threadpoolctl itself has 3 MiB of it

    def serve(executor_id: str, sock: socket.socket, stacks: int) -> None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the terminal's input is the controller's
        channel = Channel(sock)
        greeting = channel.next()
        if greeting is not None:
            become_worker(session.config, suite.identity(executor_id, greeting[1]))
            write_on_signal(stacks)
            Executor(session, channel, items, threads=threads, max_failures=suite.max_failures).serve()

    Zygote(control, serve).run()


class SuitePlugin:
    """Makes an own pytest session of a worker process: silent, and ``loop`` in place of running tests."""

    def __init__(self, identity: Identity, loop: Callable[[pytest.Session], None]) -> None:
        self._identity = identity
        self._loop = loop

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        set_worker_input(config, self._identity)
        config.option.basetemp = os.path.join(self._identity.basetemp, f"popen-{self._identity.executor_id}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._loop(session)
        return True


class Silence:
    """Takes pytest's own reporter away before it has said anything."""

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        silence(config)


def collect_and(suite: Suite, identity: Identity, loop: Callable[[pytest.Session], None]) -> int:
    """Run pytest on the suite up to the point where tests would run, and there ``loop``; return its exit code."""
    os.chdir(suite.cwd)
    sys.path[:] = suite.sys_path
    plugins: list[Any] = [SuitePlugin(identity, loop), Silence()]
    return int(pytest.main(list(suite.args), plugins=plugins))
