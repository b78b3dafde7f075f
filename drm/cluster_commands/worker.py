"""``drm worker``: this machine joins a coordinator, and leaves when it is told to or the coordinator is gone."""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drm import __version__
from drm.cluster_commands.coordinator import ray_version
from drm.cluster_commands.parsing import FIRST_PORT, end_asked, ended_well, say
from drm.cluster_commands.register import BEAT_S
from drm.cluster_trust import WORKER, Credentials, default_folder, environment, knock, load_credentials, probe_port
from drm.command_line import Parser
from drm.engines.ray_engine.node import NodeProcess, NodeSettings, NotStartedError, Ports
from drm.engines.ray_engine.state import check_name, parse_address
from drm.joining import MachineFacts
from drm.model.errors import ConfigError, DrmError, LostError
from drm.model.markers import some_bytes
from drm.model.resources import Resources
from drm.run_options import capacity_of
from drm.worker.gpus import check_gpus, usable_gpus

LEASE_S = 30.0  # a machine whose coordinator is silent for so long leaves; its tests were ended long before
_LOOK_S, _ASK_S = 0.2, 1.0
_STARTS, _STARTS_WITHIN_S = 5, 300.0
_BLOCKS = 100


def main(arguments: Sequence[str]) -> int:
    """Run ``drm worker ARGUMENTS``; return the exit code: 0 when it was told to leave, 1 when something was lost,
    4 for usage and where it may not join."""
    options = _parser().parse_args(arguments)
    return ended_well(lambda: _join(options))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="drm worker", description="Let this machine join a coordinator, until Ctrl-C or drm drain.")
    parser.add_argument("--coordinator", required=True, metavar="HOST:PORT", help="as drm coordinator prints it")
    parser.add_argument("--name", default=None, help="what the machine is called (default: its host name)")
    parser.add_argument("--cpus", type=float, default=None, metavar="N", help="cores for tests (default: all)")
    parser.add_argument("--memory", default=None, metavar="SIZE", help="memory for tests, 8GiB (default: all)")
    parser.add_argument("--gpus", type=float, default=None, metavar="N", help="gpus for tests (default: those found)")
    parser.add_argument("--label", action="append", default=[], metavar="LABEL", help="a label that tests ask for")
    parser.add_argument(
        "--host", default=None, help="this machine's address (default: the one towards the coordinator)"
    )
    parser.add_argument("--ports", type=int, default=None, metavar="FIRST", help=f"the first of {Ports.COUNT} ports")
    return parser


def _join(options: argparse.Namespace) -> int:
    host, port = parse_address(options.coordinator)
    ray_version()
    capacity = _capacity(options)
    name = check_name(options.name, "--name") if options.name is not None else _host_name()
    credentials = load_credentials(default_folder() / WORKER)
    warning = credentials.warning(datetime.now(UTC))
    if warning:
        say(warning)
    probe_port(host, port, credentials)
    own = options.host or _own_address(host, port)
    facts = {
        "cpu_cores": capacity.cpu_cores,
        "memory_bytes": capacity.memory_bytes,
        "gpus": capacity.gpus,
        "labels": sorted(set(options.label)),
    }
    visitor = Visitor(host, port + 1, credentials, name, {**facts, "address": own, "instance": uuid.uuid4().hex})
    with ExitStack() as stack:
        asked = stack.enter_context(end_asked())
        if not visitor.arrive(asked.wait):
            return 0
        ports = stack.enter_context(_free_ports(own, options.ports))
        settings = NodeSettings(
            name=name,
            host=own,
            ports=ports,
            coordinator=f"{host}:{port}",
            told=facts,
            trust=environment(credentials.folder),
        )
        try:
            return Membership(settings, visitor, asked.wait).keep()
        finally:
            with suppress(DrmError):
                visitor.call("leave")


@dataclass(slots=True)
class Visitor:
    """Says at the coordinator's door that this machine is there. ``heard_s``: when it was last answered."""

    host: str
    port: int
    credentials: Credentials
    name: str
    has: Mapping[str, Any]
    heard_s: float = 0.0

    def call(self, wants: str = "join", **more: Any) -> Mapping[str, Any]:
        """Return what is granted: ``leave`` where the machine is to. DrmError: it is not let in, or nobody answers."""
        facts = MachineFacts.here(self.name, __version__)
        said = replace(facts, more={**self.has, **more, "wants": wants}).to_json()
        granted = knock(self.host, self.port, self.credentials, said)
        self.heard_s = time.monotonic()
        return granted

    def arrive(self, wait: Callable[[float], bool]) -> bool:
        """Ask until it is let in, or ``wait(seconds)`` is true: then return False.

        The coordinator still counts a machine that has ended without a word as there, for some seconds.
        """
        began = time.monotonic()
        is_told = False
        while self.call(waited_s=time.monotonic() - began).get("wait"):
            if not is_told:
                is_told = True
                say(f"the {self.name} that was here before is not forgotten yet: waiting for that")
            if wait(_ASK_S):
                return False
        return True


class Membership:
    """Keeps a machine in its cluster: Ray is started again where it ends, for on a machine that was cut off it ends
    itself, and where it does not start.

    ``wait(seconds)``: returns early, and true, when the machine is to end.
    """

    def __init__(self, settings: NodeSettings, visitor: Visitor, wait: Callable[[float], bool]) -> None:
        self._settings = settings
        self._visitor = visitor
        self._wait = wait
        self._next_s = 0.0
        self._starts: list[float] = []

    def keep(self) -> int:
        """Return when the machine is to leave: 0 when it was told to, LostError when the coordinator is gone."""
        while True:
            node = self._start()
            try:
                if self._watch(node):
                    return 0
            finally:
                node.end()
            say(f"Ray ended ({node.last_line()}): starting it again")

    def _start(self) -> NodeProcess:
        now = time.monotonic()
        self._starts = [at for at in self._starts if now - at < _STARTS_WITHIN_S] + [now]
        if len(self._starts) > _STARTS:
            raise LostError(f"Ray ended {_STARTS} times within {_STARTS_WITHIN_S:g} s", remedy="see what it said above")
        return NodeProcess(self._settings)

    def _watch(self, node: NodeProcess) -> bool:
        """Return true when the machine is to leave, false when Ray has ended by itself."""
        try:
            node.wait_ready(self._beat)
        except _Leave:
            return True
        except NotStartedError:  # on a busy machine parts of Ray wait for each other for too long
            return False
        say(f"{self._settings.name} has joined {self._settings.coordinator} as {self._settings.host}; it listens at:")
        for name, where in self._settings.ports.rows(head=False):
            print(f"       {where:>11}  {name}", flush=True)
        while node.is_alive():
            try:
                self._beat()
            except _Leave:
                return True
            if self._wait(_LOOK_S):
                return True
        return False

    def _beat(self) -> None:
        if self._wait(0):
            raise _Leave
        now = time.monotonic()
        if now < self._next_s:
            return
        self._next_s = now + BEAT_S
        try:
            granted = self._visitor.call()
            if granted.get("leave"):
                say("asked to leave")
                raise _Leave
            if granted.get("wait"):
                raise ConfigError(
                    f"{self._visitor.name} was silent, and another machine has joined under its name, so it leaves",
                    remedy="give another --name, or end that one and join again",
                )
        except LostError as error:
            silent_s = time.monotonic() - self._visitor.heard_s
            if silent_s > LEASE_S:
                raise LostError(
                    f"the coordinator has not answered for {silent_s:.0f} s, so this machine leaves ({error.message})",
                    remedy="join again when it is there",
                ) from None


class _Leave(Exception):
    """The machine is to leave."""


def _capacity(options: argparse.Namespace) -> Resources:
    if options.cpus is not None and not 0.001 <= options.cpus < 1e6:
        raise ConfigError(f"--cpus: {options.cpus:g} is not a number of cores", remedy="give a number above 0")
    if options.gpus is not None and not 0 <= options.gpus < 1e4:
        raise ConfigError(f"--gpus: {options.gpus:g} is not a number of gpus", remedy="give a number such as 1")
    check_gpus(options.gpus or 0, os.environ, "--gpus")
    memory = some_bytes(options.memory, "--memory") if options.memory is not None else None
    capacity = capacity_of(options.cpus, memory, 0)
    return replace(capacity, gpus=float(usable_gpus(os.environ)) if options.gpus is None else options.gpus)


def _host_name() -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", socket.gethostname())[:62].strip("-_.")
    return name or "worker"


def _own_address(host: str, port: int) -> str:
    """Return the address of this machine towards the coordinator."""
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as sock:
            sock.connect(target)
            return str(sock.getsockname()[0])
    except OSError as error:
        raise LostError(f"{host} cannot be reached ({error.strerror or error})", remedy="give its IP address") from None


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


@contextmanager
def _free_ports(host: str, first: int | None) -> Iterator[Ports]:
    """Give ports that are free, and keep other workers of this user off them; ConfigError where there are none.

    Without ``first`` they are the next block after the coordinator's.
    """
    if first is not None and not 1024 <= first <= 65535 - Ports.COUNT:
        raise ConfigError(f"--ports: {first} does not begin {Ports.COUNT} ports", remedy="give one of 1024 to 65505")
    tried = [first] if first is not None else [FIRST_PORT + number * Ports.COUNT for number in range(1, _BLOCKS)]
    for begin in tried:
        ports = Ports(first=begin)
        lock = Path(tempfile.gettempdir(), f"drm-{os.getuid()}-ports-{host}-{begin}.lock")
        with ExitStack() as held:
            try:
                file = held.enter_context(open(lock, "a", encoding="ascii", opener=_no_link))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # another worker's, or somebody else has put something there
                continue
            if ports.taken(host, head=False) is None:
                try:
                    yield ports
                finally:
                    lock.unlink(missing_ok=True)
                return
    raise ConfigError(
        f"ports {first}-{(first or 0) + Ports.COUNT - 1} of {host} are in use"
        if first
        else f"no ports of {host} are free",
        remedy="give another --ports",
    )
