"""What an agent takes for a sign of life: calls made after its last answer, whenever they arrive."""

from __future__ import annotations

import asyncio

import pytest

from drm.engines.ray_engine.agent import NodeAgent
from drm.worker import lease


def test_a_call_that_was_made_before_the_machine_stood_still_does_not_extend_its_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(lease, "now_s", lambda: now[0])

    async def calls() -> None:
        agent = NodeAgent(8.0)
        *_, stamp = await agent.read(0, 0.0, 0.0)
        now[0] += 9.0  # it stands still; this call was made before, and waited for it
        *_, fresh = await agent.read(0, 0.0, stamp)
        assert agent._heard.is_over
        await agent.read(0, 0.0, fresh)
        assert not agent._heard.is_over
        now[0] += 9.0
        await agent.write(1, b"late too")
        assert agent._heard.is_over

    asyncio.run(calls())
