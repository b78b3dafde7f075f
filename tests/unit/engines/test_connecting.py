"""A run that cannot connect to its coordinator is told why at once; Ray would wait for minutes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from drm.engines.ray_engine.driver import connect
from drm.engines.ray_engine.state import CoordinatorState
from drm.model.errors import ConfigError, DrmError, LostError, UnauthorisedError


def test_ray_that_was_loaded_without_certificates_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    nowhere: Any = None
    with pytest.raises(ConfigError, match=r"Ray is loaded already.*import ray in the tests that use it"):
        connect(nowhere)


def refused(port: int, kind: type[DrmError]) -> str:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        connect(CoordinatorState(Path("nowhere"), {"host": "127.0.0.1", "port": port}))
    assert time.monotonic() - began < 30
    assert "ray" not in sys.modules, "it was not asked"
    return str(caught.value)


def test_credentials_that_do_not_fit_are_told_before_ray_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install 'drm-testing[cluster]'")
    from drm.cluster_trust import Answer, Door, load_credentials, make_trust

    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setenv("DRM_CLUSTER_FOLDER", str(tmp_path / "mine"))
    theirs, _ = make_trust(tmp_path / "theirs", coordinator=[], workers=[])
    with Door("127.0.0.1", 0, load_credentials(theirs), lambda facts: Answer()) as of_another:  # it speaks first too
        port = of_another.address[1]
        assert "drm coordinator --init" in refused(port, ConfigError)
        make_trust(tmp_path / "mine", coordinator=[], workers=[])
        told = refused(port, UnauthorisedError)
        assert "certificate of another authority" in told
        assert "end that coordinator and start it again" in told
    with Door("127.0.0.1", 0, load_credentials(tmp_path / "mine" / "coordinator"), lambda facts: Answer()) as mine:
        assert "was started with another token" in refused(mine.address[1], UnauthorisedError)
    assert "cannot be reached" in refused(port, LostError)
