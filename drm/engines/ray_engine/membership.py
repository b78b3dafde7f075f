"""Which machines are there, and when one that is silent counts as gone. Pure: what is seen in, what follows out."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["HEAD_ROLE", "Leases", "Member", "NodeState", "Sighting", "judge", "members_of"]

NAME_LABEL, ROLE_LABEL = "drm-worker", "drm-role"
HEAD_ROLE = "head"


class NodeState(str, enum.Enum):
    """What is known of a machine."""

    JOINED = "joined"
    SUSPECT = "suspect"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A machine as Ray lists it, with the port of its Ray. ``down``: why it is gone; empty while it is not."""

    node_id: str
    name: str
    address: str
    port: int = 0
    down: str = ""
    is_missed: bool = False  # it was silent, rather than seen to end


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """How long silence means nothing.

    ``suspect_s``: from then on a worker gets nothing new. ``lease_s``: an agent that has heard nothing of the
    controller for so long ends its worker. ``margin_s``: so much later the controller counts on that, and lets the
    tests run elsewhere. ``settle_s``: from the end of an agent that was seen, to all its processes having ended.
    """

    suspect_s: float = 3.5
    lease_s: float = 8.0
    margin_s: float = 1.0
    settle_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What is known of a worker at ``now_s``. ``ended_s``: when its agent, or its machine, was seen to end."""

    now_s: float
    heard_s: float
    ended_s: float | None = None
    reason: str = ""


def judge(seen: Sighting, leases: Leases) -> tuple[NodeState, str]:
    """Return what a worker counts as, and why.

    One that was seen to end has left as soon as its processes have ended too; one that is only silent when it must
    have ended by its own lease. Before that its tests do not run anywhere else.
    """
    silent_s = seen.now_s - seen.heard_s
    if seen.ended_s is not None and seen.now_s - seen.ended_s >= leases.settle_s:
        return NodeState.LEFT, seen.reason
    if silent_s >= leases.lease_s + leases.margin_s:
        return NodeState.LEFT, f"it was silent for {silent_s:.0f} s"
    if seen.ended_s is None and silent_s < leases.suspect_s:
        return NodeState.JOINED, ""
    return NodeState.SUSPECT, seen.reason or f"it has been silent for {silent_s:.1f} s"


def members_of(rows: Iterable[dict[str, object]]) -> list[Member]:
    """Return the machines that joined as workers, from what ``ray.nodes()`` says."""
    found = []
    for row in rows:
        labels = row.get("Labels")
        if not isinstance(labels, dict) or NAME_LABEL not in labels or labels.get(ROLE_LABEL) == HEAD_ROLE:
            continue
        message = str(row.get("DeathReasonMessage") or "")
        found.append(
            Member(
                node_id=str(row["NodeID"]),
                name=str(labels[NAME_LABEL]),
                address=str(row.get("NodeManagerAddress")),
                port=int(str(row.get("NodeManagerPort") or 0)),
                down="" if row.get("Alive") else (message or "its machine left the cluster"),
                is_missed="health check" in message,
            )
        )
    return found
