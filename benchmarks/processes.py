"""Running a command and telling what it took: wall, cpu of all its processes, and their memory together.

    python -m benchmarks.processes COMMAND ...

prints it as a line of JSON.
"""

from __future__ import annotations

import ipaddress
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from drm.worker.linux import descendants_of
from drm.worker.probe import proportional_bytes

_SAMPLE_S = 0.1
_LISTENS = "0A"  # TCP_LISTEN (include/net/tcp_states.h)


@dataclass(frozen=True)
class Figures:
    """What one run took. ``memory_bytes``: the largest sum of proportional set sizes; 0 where it was not sampled."""

    wall_s: float
    cpu_s: float
    memory_bytes: int


def clean_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment as a user has it: compiled modules are kept, and no options of pytest are added."""
    dropped = ("PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if key not in dropped} | dict(changes or {})


def measure(command: Sequence[str], cwd: Path, *, sample: bool) -> Figures:
    """Run a command to its end; return what it took, children included. Sampling memory costs cpu."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment()
    )
    peak = 0
    while sample and process.poll() is None:
        peak = max(peak, sum(map(proportional_bytes, [process.pid, *descendants_of(process.pid)])))
        time.sleep(_SAMPLE_S)
    process.wait()
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(wall_s=wall, cpu_s=cpu, memory_bytes=peak)


def listeners(pids: Iterable[int]) -> set[tuple[str, int]]:
    """Return (address, port) of each TCP socket on which one of the processes listens."""
    found: set[tuple[str, int]] = set()
    for pid in pids:
        sockets = set()
        with suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    sockets.add(os.readlink(entry.path))
        for name in ("tcp", "tcp6"):  # of the process's own network namespace
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
                    words = line.split()
                    if words[3] == _LISTENS and f"socket:[{words[9]}]" in sockets:
                        address, port = words[1].split(":")
                        found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """Return an address as the kernel lists it: 32-bit words in the order of this machine."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    return str(getattr(address, "ipv4_mapped", None) or address)


def outcomes(junit: Path) -> dict[str, str]:
    """Return the outcome of each test in a junit file; empty if there is none, or none that can be read."""
    try:
        tree = ElementTree.parse(junit)
    except (OSError, ElementTree.ParseError):
        return {}
    found: dict[str, str] = {}
    for case in tree.iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[f"{case.get('classname')}::{case.get('name')}"] = "+".join(sorted(kinds)) or "passed"
    return found


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1:], Path.cwd(), sample=True))))
