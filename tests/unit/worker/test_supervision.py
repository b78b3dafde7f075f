"""What tells that a process died of memory, or is hung; and how one that must end is ended. No process is needed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from drm.model.death import Death, DeathKind
from drm.worker import stacks
from drm.worker.eviction import STACKS_S, TERM_S, Eviction
from drm.worker.oom import OomWatch, counters, oom_kills
from drm.worker.pulse import SILENT_S, STOPPED_S, Pulse
from drm.worker.stacks import STACKS_SIGNAL

V1 = "11:memory:/ci/job\n3:cpu,cpuacct:/ci\n1:name=systemd:/\n0::/\n"
V2 = "0::/ci/job\n"


@pytest.mark.parametrize(
    ("own", "name", "text"),
    [
        (V2, "ci/job/memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 7\noom_group_kill 0\n"),
        (V2, "unified/ci/job/memory.events", "oom_kill 7\n"),
        (V1, "memory/ci/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"),
        (V1, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"),
    ],
)
def test_the_kernels_count_is_found(tmp_path: Path, own: str, name: str, text: str) -> None:
    (tmp_path / "own").write_text(own)
    path = tmp_path / "root" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 12\noom_kill 99\n")
    files = counters(tmp_path / "own", tmp_path / "root", vmstat)
    assert oom_kills(files) == 7
    path.unlink()
    assert oom_kills(files) == 99, "the machine's count stands in"
    assert oom_kills([tmp_path / "none"]) == 0


def test_the_real_count_can_be_read() -> None:
    assert oom_kills(counters()) >= 0


def test_each_kill_explains_one_death_and_an_old_one_none() -> None:
    count = 5
    watch = OomWatch(lambda: count)
    assert watch.claim() == 0
    count = 7
    assert watch.claim() == 2, "two at once"
    assert watch.claim() == 1
    assert watch.claim() == 0
    watch.look(10.0)
    count = 8
    watch.look(10.5)
    watch.look(11.0)
    assert watch.claim() == 1, "of a moment ago"
    count = 9  # of a child of some test; its executor lived on
    watch.look(20.0)
    watch.look(21.0)
    watch.look(22.0)
    assert watch.claim() == 0


@pytest.mark.parametrize(
    ("death", "kind"),
    [
        (Death(signal="SIGKILL", oom_kills=1), DeathKind.MEMORY),
        (Death(signal="SIGKILL"), DeathKind.CRASH),
        (Death(signal="SIGSEGV", oom_kills=1), DeathKind.CRASH),
        (Death(exit_code=0), DeathKind.CRASH),
        (Death(signal="SIGKILL", oom_kills=1, killed_for=DeathKind.TIMEOUT, reason="late"), DeathKind.TIMEOUT),
        (Death(exit_code=1, killed_for=DeathKind.HUNG, reason="hung"), DeathKind.HUNG),
    ],
)
def test_the_evidence_decides(death: Death, kind: DeathKind) -> None:
    assert death.kind is kind


def test_a_stopped_process_is_hung_and_one_that_sleeps_is_not() -> None:
    pulse = Pulse()
    for second in range(1000):
        assert not pulse.look(second, state="S", cpu_s=1.0, waits=False), "a test may sleep in C for hours"
    assert not pulse.look(1000.0, state="T", cpu_s=1.0, waits=False)
    assert not pulse.look(1001.0, state="S", cpu_s=1.0, waits=False), "it went on"
    assert not pulse.look(1002.0, state="T", cpu_s=1.0, waits=False)
    assert not pulse.look(1002.0 + STOPPED_S - 0.1, state="T", cpu_s=1.0, waits=False)
    assert "SIGSTOP" in pulse.look(1002.0 + STOPPED_S, state="T", cpu_s=1.0, waits=False)


def test_one_that_was_sent_tests_and_begins_none_is_hung_unless_it_uses_cpu() -> None:
    pulse = Pulse()
    for second in range(1000):  # collecting, or tearing down, for long
        assert not pulse.look(second, state="R", cpu_s=second / 10, waits=True)
    last = 999.0
    assert not pulse.look(last + SILENT_S - 0.1, state="S", cpu_s=99.9, waits=True)
    assert not pulse.look(last + SILENT_S, state="S", cpu_s=99.9, waits=False), "it began"
    assert not pulse.look(last + SILENT_S + 1, state="S", cpu_s=99.9, waits=True)
    assert not pulse.look(last + 2 * SILENT_S, state="S", cpu_s=99.9, waits=True)
    assert "neither began one" in pulse.look(last + 2 * SILENT_S + 1, state="S", cpu_s=99.9, waits=True)


def test_a_process_is_ended_by_degrees() -> None:
    eviction = Eviction(0.0)
    assert eviction.due(0.0, 0) == STACKS_SIGNAL
    assert eviction.due(0.1, 0) is None
    assert eviction.due(0.2, 400) is None, "it still writes"
    assert eviction.due(0.3, 900) is None
    assert eviction.due(0.4, 900) == signal.SIGTERM
    assert eviction.due(0.5, 900) is None
    assert eviction.due(0.5 + TERM_S, 900) == signal.SIGKILL
    assert eviction.due(10.0, 900) is None


def test_stacks_that_never_come_are_not_waited_for() -> None:
    eviction = Eviction(0.0)
    eviction.due(0.0, 0)
    assert eviction.due(STACKS_S - 0.1, 0) is None
    assert eviction.due(STACKS_S, 0) == signal.SIGTERM


def test_stacks_are_told_without_what_ran_the_test() -> None:
    inner = f'  File "{Path(stacks.__file__)}", line 9 in run'
    pytest_s = '  File "/venv/lib/site-packages/_pytest/python.py", line 187 in pytest_pyfunc_call'
    told = [
        "Fatal Python error: Segmentation fault",
        "",
        "Thread 0x1 (most recent call first):",
        pytest_s,
        inner,
        "",
        "Current thread 0x2 (most recent call first):",
        '  File "/lib/ctypes/__init__.py", line 519 in string_at',
        pytest_s,
        '  File "/project/drm/test_shop.py", line 11 in test_segv',
        pytest_s,
        '  File "<a hook\'s call>", line 9 in call',
        inner,
        '  File "<frozen runpy>", line 88 in _run_code',
        "",
        "Extension modules: _ctypes (total: 1)",
    ]
    shown = stacks.without_runner("\n".join(told)).splitlines()
    assert shown == [*told[:10], "  and 4 frames of pytest and DRM", *told[14:]]
    assert stacks.without_runner("") == ""
