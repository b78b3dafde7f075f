"""``drm coordinator``: the head of a cluster, and the door at which machines join."""

from __future__ import annotations

import argparse
import ipaddress
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from drm import __version__
from drm.cluster_commands.parsing import FIRST_PORT, end_asked, ended_well, say
from drm.cluster_commands.register import Register
from drm.cluster_trust import COORDINATOR, WORKER, Door, default_folder, environment, load_credentials, make_trust
from drm.command_line import Parser
from drm.engines.ray_engine.node import NodeProcess, NodeSettings, Ports
from drm.engines.ray_engine.state import CoordinatorState, running_coordinators
from drm.joining import MachineFacts
from drm.model.errors import ConfigError, LostError

_LOOK_S = 0.5


def main(arguments: Sequence[str]) -> int:
    """Run ``drm coordinator ARGUMENTS``; return the exit code: 0, 1 where Ray ended by itself, 4 for usage."""
    options = _parser().parse_args(arguments)
    return ended_well(lambda: _init(options) if options.init else _serve(options))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="drm coordinator",
        description="Let other machines join this one: it listens until Ctrl-C, and drm run --coordinator uses them.",
    )
    parser.add_argument(
        "--port", type=int, default=FIRST_PORT, help=f"the first of {Ports.COUNT} ports (default: {FIRST_PORT})"
    )
    parser.add_argument(
        "--bind", metavar="ADDRESS", default="127.0.0.1", help="where to listen (default: loopback only)"
    )
    parser.add_argument("--init", action="store_true", help="make certificates and a token, and end")
    parser.add_argument("--replace", action="store_true", help="with --init: in place of those that are there")
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="with --init: an address of this host"
    )
    parser.add_argument(
        "--worker-network",
        action="append",
        default=[],
        metavar="NETWORK",
        help="with --init: where workers are, 10.0.0.0/24",
    )
    return parser


def _init(options: argparse.Namespace) -> int:
    folder = default_folder()
    running = running_coordinators()
    if running:
        raise ConfigError(
            f"the coordinator at {running[0].address} runs with the credentials that are there",
            remedy="end it, then make new ones; its workers need the new folder",
        )
    for role in (COORDINATOR, WORKER):
        if (folder / role).exists() and not options.replace:
            raise ConfigError(
                f"{folder / role} is there already", remedy="--replace makes new ones; workers then need the new folder"
            )
    made = _make(folder, options)
    say(f"the coordinator's credentials are in {made[0]}")
    say(f"copy {made[1]} to the same place on each machine that is to join; it is a secret like an SSH key")
    return 0


def _make(folder: Path, options: argparse.Namespace) -> tuple[Path, Path]:
    """Make credentials beside what a coordinator keeps in the same folder.

    The old ones go last: whoever stops in between leaves no part of a folder, and can make them again.
    """
    fresh = folder / ".fresh"
    made = make_trust(fresh, coordinator=options.host, workers=options.worker_network, replace=True)
    for path in made:
        target = folder / path.name
        if target.exists():
            target.rename(fresh / f"old-{path.name}")
        path.rename(target)
    shutil.rmtree(fresh)
    return folder / COORDINATOR, folder / WORKER


def _serve(options: argparse.Namespace) -> int:
    host = _address(options.bind)
    ports = _ports(options.port)
    ray = ray_version()
    credentials = load_credentials(default_folder() / COORDINATOR)
    warning = credentials.warning(datetime.now(UTC))
    if warning:
        say(warning)
    with end_asked() as asked, CoordinatorState.living(host, ports.first, credentials.token()) as state:
        taken = ports.taken(host, head=True)
        if taken is not None:
            raise ConfigError(
                f"port {taken} of {host} is in use", remedy="give another --port, or end who listens there"
            )
        register = Register(
            lambda: MachineFacts.here("coordinator", __version__),
            must_leave=lambda name: name in state.draining() and name not in state.rows(),
            left=state.ask_no_more,
            now=time.monotonic,
            say=say,
        )
        say(f"starting Ray {ray} on {host}")
        trust = environment(credentials.folder)
        node = NodeProcess(NodeSettings(name="coordinator", host=host, ports=ports, trust=trust))
        try:
            node.wait_ready(lambda: _check(asked.is_set()))
            with Door(host, ports.door, credentials, register.answer):
                _announce(state, ports)
                while not asked.wait(_LOOK_S):
                    state.note_machines(register.machines())
                    if not node.is_alive():
                        raise LostError(f"Ray ended: {node.last_line()}", remedy="start the coordinator again")
            say("ending")
        except InterruptedError:
            say("ended before it had begun")
        finally:
            node.end()
    return 0


def _check(is_over: bool) -> None:
    if is_over:
        raise InterruptedError


def _announce(state: CoordinatorState, ports: Ports) -> None:
    for name, where in ports.rows(head=True):
        print(f"       {where:>11}  {name}")
    say(f"machines join with:  {state.join_line}")
    say(f"they need a copy of {default_folder() / WORKER}")
    say(f"run tests on them, on this host, with:  drm run --coordinator {state.address}")


def _address(text: str) -> str:
    """Return the address to listen at; Ray is known by one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ConfigError(f"--bind: {text!r} is no address", remedy="give an IP address of this host") from None
    if address.is_unspecified:
        raise ConfigError(f"--bind: {text} is every address", remedy="give the one under which workers reach this host")
    return str(address)


def _ports(first: int) -> Ports:
    if not 1024 <= first <= 65535 - Ports.COUNT:
        raise ConfigError(
            f"--port: {first} does not begin {Ports.COUNT} ports", remedy=f"give one of 1024 to {65535 - Ports.COUNT}"
        )
    return Ports(first=first)


def ray_version() -> str:
    try:
        return metadata.version("ray")
    except metadata.PackageNotFoundError:
        raise ConfigError("Ray is not installed", remedy="python -m pip install 'drm-testing[ray]'") from None
