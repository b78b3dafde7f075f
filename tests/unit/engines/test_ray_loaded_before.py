"""A suite that imports Ray while it is collected is told so, where it would wait for minutes."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from drm.engines.ray_engine.engine import connect
from drm.model.errors import ConfigError


def test_ray_that_was_loaded_without_certificates_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    nowhere: Any = None
    with pytest.raises(ConfigError, match=r"Ray is loaded already.*import ray in the tests that use it"):
        connect(nowhere)
