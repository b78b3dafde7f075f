"""Ending what is left: find it, look again, end it, make sure.

What is to be ended is decided by ``judge``, which is pure. An instance without DRM's tag, one whose controller
lives, and one of another machine whose lease runs are never ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from drm.cloud_provider_manager.journal import Entry, Journal
from drm.cloud_provider_manager.tags import EXPIRES, MANAGED, OPERATION, OWNER
from drm.model.cluster import Instance, InstanceState
from drm.model.errors import DrmError, LostError
from drm.ports import Clock, CloudProvider

__all__ = ["Finding", "Reaped", "Verdict", "judge", "reap"]

BOOT_GRACE_S = 300.0
LATE_S = 60.0  # clocks differ
LOOK_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be done with an instance, and why."""

    end: bool
    reason: str


def judge(instance: Instance, *, now: float, alive: bool | None, boot_grace_s: float = BOOT_GRACE_S) -> Verdict:
    """Tell whether nobody needs an instance any more. ``now``: seconds since the epoch.

    ``alive``: whether its controller's process lives, None where this machine cannot know. Pure.
    """
    if instance.tag(MANAGED) != "1":
        return Verdict(end=False, reason="it is none of DRM's")
    if instance.state is InstanceState.GONE:
        return Verdict(end=False, reason="it is gone")
    if alive:
        return Verdict(end=False, reason="its run goes on")
    if alive is False:
        return Verdict(end=True, reason="its controller is gone")
    expires = instance.tag(EXPIRES)
    if not expires.isdecimal():
        return Verdict(end=False, reason="its controller is of another machine, and it has no end of a lease")
    age_s = None if instance.created_at is None else now - instance.created_at
    if age_s is None or age_s < boot_grace_s:
        return Verdict(end=False, reason=f"it was made less than {boot_grace_s:g} s ago, or nobody knows when")
    late_s = now - int(expires)
    if late_s <= LATE_S:
        return Verdict(end=False, reason="its controller is of another machine, and its lease runs")
    return Verdict(end=True, reason=f"its lease ended {late_s:.0f} s ago")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One instance that was looked at, and what became of it: ``kept``, ``would end``, ``ended`` or ``failed``."""

    instance: Instance
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """What a reaper found. ``unknown``: entries of the journal whose fate still nobody knows."""

    findings: tuple[Finding, ...]
    unknown: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not self.problems and all(each.outcome != "failed" for each in self.findings)


def reap(
    providers: Sequence[CloudProvider],
    *,
    clock: Clock,
    alive: Callable[[str], bool | None],
    wait: Callable[[float], None],
    journal: Journal | None = None,
    dry_run: bool = False,
    boot_grace_s: float = BOOT_GRACE_S,
) -> Reaped:
    """End every instance that nobody needs, in two phases; with ``dry_run`` only say which.

    Marked is what ``judge`` says; after a moment everything is listed and judged again, and only what is marked both
    times is ended. A provider that cannot be asked is a problem, and hides nothing of the others.
    """

    def verdict_of(instance: Instance) -> Verdict:
        owner = instance.tag(OWNER)
        known = alive(owner) if owner else None
        return judge(instance, now=clock.utc().timestamp(), alive=known, boot_grace_s=boot_grace_s)

    problems: list[str] = []
    findings: list[Finding] = []
    answered: dict[str, tuple[Instance, ...]] = {}
    for provider in providers:
        try:
            listed = provider.list_instances()
            marked = {each.instance_id for each in listed if verdict_of(each).end}
            if marked and not dry_run:
                wait(LOOK_AGAIN_S)
                listed = provider.list_instances()
        except DrmError as error:
            problems.append(str(error))
            continue
        answered[provider.name] = listed
        for instance in listed:
            verdict = verdict_of(instance)
            if not verdict.end:
                findings.append(Finding(instance=instance, outcome="kept", reason=verdict.reason))
            elif dry_run:
                findings.append(Finding(instance=instance, outcome="would end", reason=verdict.reason))
            elif instance.instance_id in marked:
                findings.append(_end(provider, instance, verdict.reason))
            else:
                findings.append(Finding(instance=instance, outcome="kept", reason="it was not there a moment ago"))
    unknown: tuple[Entry, ...] = ()
    if journal is not None:
        unknown = _settle(journal, answered, findings, clock, boot_grace_s, dry_run=dry_run)
    return Reaped(findings=tuple(findings), unknown=unknown, problems=tuple(problems))


def _end(provider: CloudProvider, instance: Instance, reason: str) -> Finding:
    """Terminate an instance, and look whether it is gone."""
    try:
        provider.terminate(instance.instance_id)
        gone = _is_gone(provider, instance.instance_id)
    except LostError:
        gone = True  # somebody else was faster
    except DrmError as error:
        return Finding(instance=instance, outcome="failed", reason=str(error))
    if not gone:
        return Finding(instance=instance, outcome="failed", reason="it was terminated, and is still there")
    return Finding(instance=instance, outcome="ended", reason=reason)


def _is_gone(provider: CloudProvider, instance_id: str) -> bool:
    try:
        return provider.describe(instance_id).state is InstanceState.GONE
    except LostError:
        return True


def _settle(
    journal: Journal,
    answered: Mapping[str, tuple[Instance, ...]],
    findings: Sequence[Finding],
    clock: Clock,
    boot_grace_s: float,
    *,
    dry_run: bool,
) -> tuple[Entry, ...]:
    """Close the entries whose instance is gone or was never made; return those that nobody can tell of yet.

    A provider's list may be late: what was asked for less than the grace ago, and is not listed, may still come.
    """
    ended = {each.instance.tag(OPERATION) for each in findings if each.outcome == "ended"}
    listed = {each.tag(OPERATION) for instances in answered.values() for each in instances} - ended
    now = clock.utc().timestamp()
    unknown = []
    for entry in journal.open_entries():
        if entry.token in listed:
            continue
        if entry.token not in ended and (entry.provider not in answered or now - entry.asked_at < boot_grace_s):
            unknown.append(entry)
        elif not dry_run:
            journal.closed(entry.token, "ended by the reaper" if entry.token in ended else "not there", at=now)
    return tuple(unknown)
