"""The limits of cgroups and of the machine, read from files as the kernel writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drm.model.memory import MemoryLevel, MemorySample
from drm.worker import limits
from drm.worker.limits import MemoryLimits
from drm.worker.memory import MemoryWatch, with_children
from drm.worker.probe import resident_bytes

MIB = 2**20
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def lay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str]) -> None:
    """Make a /sys/fs/cgroup with these files, and be in the groups that ``own`` (/proc/self/cgroup) names."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    found: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path_text = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path_text))
    monkeypatch.setattr(limits, "_ROOT", tmp_path)
    monkeypatch.setattr(limits, "_own_cgroups", lambda: found)


def test_the_machine_has_something() -> None:
    capacity = limits.machine_capacity()
    assert 0 < capacity.cpu_cores <= (os.cpu_count() or 1)
    assert 64 * MIB < capacity.memory_bytes <= MACHINE


@pytest.mark.parametrize(
    ("own", "files", "cores", "memory"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000", "a/memory.max": "1048576", "a/b/memory.max": "max"}, 0.5, MIB),
        ("0::/a\n", {"a/memory.max": "4194304", "a/memory.high": "3145728"}, None, 3 * MIB),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ("0::/gone/away\n", {"memory.max": "2097152"}, None, 2 * MIB),
        (
            "3:cpu,cpuacct:/x\n2:memory:/y\n",
            {"cpu/x/cpu.cfs_quota_us": "25000", "memory/y/memory.limit_in_bytes": "2097152"},
            0.25,
            2 * MIB,
        ),
        (
            "3:cpu:/x\n2:memory:/y/z\n",
            {
                "cpu/x/cpu.cfs_quota_us": "25000",
                "cpu/x/cpu.cfs_period_us": "50000",
                "memory/y/z/memory.limit_in_bytes": "9223372036854771712",
                "memory/y/memory.limit_in_bytes": "3145728",
            },
            0.5,
            3 * MIB,
        ),
        (
            "2:memory:/y\n0::/u\n",
            {"unified/u/memory.max": "1048576", "memory/y/memory.limit_in_bytes": "0x"},
            None,
            MIB,
        ),
        ("3:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1"}, None, None),
    ],
    ids=["v2", "v2-high", "v2-no-limit", "v2-namespace", "v1", "v1-nested", "hybrid", "v1-no-limit"],
)
def test_limits_of_the_cgroup_count(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    files: dict[str, str],
    cores: float | None,
    memory: int | None,
) -> None:
    lay_out(tmp_path, monkeypatch, own, files)
    capacity = limits.machine_capacity()
    machine = float(len(os.sched_getaffinity(0)))
    assert capacity.cpu_cores == (cores if cores is not None else machine)
    assert capacity.memory_bytes == (memory or MACHINE)


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (
            "0::/job\n",
            {
                "job/memory.max": str(100 * MIB),
                "job/memory.current": str(90 * MIB),
                "job/memory.stat": f"anon 5\ninactive_file {40 * MIB}\nactive_file {20 * MIB}\nfile_mapped {10 * MIB}",
            },
        ),
        (
            "4:memory:/job\n",
            {
                "memory/job/memory.limit_in_bytes": str(100 * MIB),
                "memory/job/memory.usage_in_bytes": str(90 * MIB),
                "memory/job/memory.stat": f"cache 5\ninactive_file 1\ntotal_inactive_file {40 * MIB}\n"
                f"total_active_file {20 * MIB}\ntotal_mapped_file {10 * MIB}",
            },
        ),
    ],
    ids=["v2", "v1"],
)
def test_cache_that_can_go_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str]
) -> None:
    lay_out(tmp_path, monkeypatch, own, files)
    group, machine = MemoryLimits().levels()
    assert group == MemoryLevel(name="the cgroup /job", limit_bytes=100 * MIB, used_bytes=40 * MIB)
    assert machine.name == "the machine"
    assert 0 < machine.used_bytes < machine.limit_bytes == MACHINE


def test_pressure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_PRESSURE", tmp_path / "none")
    lay_out(tmp_path, monkeypatch, "0::/job\n", {})
    assert MemoryLimits().pressure() == 0.0
    text = "some avg10=12.50 avg60=3.00 avg300=0.00 total=9\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1"
    lay_out(tmp_path, monkeypatch, "0::/job\n", {"job/memory.pressure": text})
    watched = MemoryLimits()
    assert watched.pressure() == 0.125
    (tmp_path / "job/memory.pressure").write_text("some avg10=")
    assert watched.pressure() == 0.0


def used_by_the_worker(sample: MemorySample) -> int:
    (level,) = [level for level in sample.levels if level.name == "the worker"]
    return level.used_bytes


def test_growth_is_seen_without_another_scan() -> None:
    """What an executor and its children come to hold counts at once, and what they share only once."""
    program = (
        "import os, sys\\n"
        "kept = []\\n"
        "for line in sys.stdin:\\n"
        "    kept.append(b'x' * (int(line) * 2**20))\\n"
        "    if len(kept) == 2 and not os.fork():\\n"
        "        kept.append(b'y' * (20 * 2**20))\\n"
        "    print(flush=True)\\n"
    ).replace("\\n", "\n")
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    watch = MemoryWatch(2**33 if MACHINE > 2**34 else MACHINE // 2)

    def grow(mib: int) -> MemorySample:
        assert process.stdin is not None
        assert process.stdout is not None
        print(mib, file=process.stdin, flush=True)
        assert process.stdout.readline() == "\n"
        return watch.sample({"gw0": with_children(process.pid)})

    try:
        before = used_by_the_worker(grow(1))
        scanned, watch._next_scan_s = watch._next_scan_s, float("inf")
        assert scanned < float("inf")
        # Until the next scan what the child shares with its parent may count twice.
        assert 38 * MIB < used_by_the_worker(grow(40)) - before < 150 * MIB
        assert process.stdout.readline() == "\n"  # the child's
        assert with_children(process.pid) - resident_bytes(process.pid) > 20 * MIB
        assert 55 * MIB < watch.scan() - before < 90 * MIB, "the fork's shared pages count once"
    finally:
        process.kill()
        process.communicate()


def sample_of(used_mib: int, *, pressure: float = 0.0, limit_mib: int = 8192, **residents_mib: int) -> MemorySample:
    level = MemoryLevel(name="the machine", limit_bytes=limit_mib * MIB, used_bytes=used_mib * MIB)
    residents = tuple((name, size * MIB) for name, size in residents_mib.items())
    return MemorySample(levels=(level,), pressure=pressure, resident_bytes=residents)


@pytest.mark.parametrize(
    ("sample", "is_news"),
    [
        (sample_of(1000, gw0=100), False),
        (sample_of(1015, gw0=110), False),
        (sample_of(1000, gw0=116), True),
        (sample_of(1000, gw0=80), True),
        (sample_of(984, gw0=100), True),
        (sample_of(1000, gw0=100, gw1=1), True),
        (sample_of(1000), True),
        (sample_of(1000, gw0=100, pressure=0.01), True),
        (sample_of(1000, gw0=100, limit_mib=1200), True),
    ],
    ids=["same", "little", "grown", "shrunk", "less-used", "another", "none", "pressure", "near"],
)
def test_only_news_is_told(sample: MemorySample, is_news: bool) -> None:
    watch = MemoryWatch(8192 * MIB)
    assert watch.is_news(sample_of(1000, gw0=100)), "the first always is"
    watch.told = sample_of(1000, gw0=100)
    assert watch.is_news(sample) is is_news


def test_that_memory_is_short_no_more_is_news_once() -> None:
    watch = MemoryWatch(0)
    watch.told = sample_of(1000, gw0=100, pressure=0.5)
    calm = sample_of(1000, gw0=100)
    assert watch.is_news(calm)
    watch.told = calm
    assert not watch.is_news(calm)
