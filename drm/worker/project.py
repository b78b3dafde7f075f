"""The project on a worker that does not see the controller's folder: received, unpacked, and removed at the end.

coordinator -> ["project", {root, marker, nonce, packages, receipt}]
worker      -> ["project", "here"]                          the same folder is seen here: nothing is sent
            or ["project", "elsewhere", receipt]            -> ["manifest", json, receipt]
               ["project", "want", receipt, [digests]]      -> ["pieces", [[digest, base64], ...], receipt]
               ["project", "ready"]
            or ["left", why]                                packages do not fit, or the disk is full
coordinator -> ["suite", ...]

Of what is wanted as much is sent as goes into a parcel; the rest is asked for again, with the receipt that came last.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from drm.bundle import CACHE_BYTES, BundleCache, Manifest
from drm.joining import installed_packages, package_problems
from drm.model.errors import DrmError, LostError
from drm.model.units import parse_bytes
from drm.worker.channel import Channel
from drm.worker.suite import Suite

__all__ = ["AT_ONCE", "OWN_PROJECT", "Arrival", "cache_folder"]

OWN_PROJECT = "DRM_OWN_PROJECT"  # set: never use the controller's folder, even where it is seen
AT_ONCE = 500  # pieces asked for in one message: small ones go together


class Arrival:
    """Where the project of the run is on this machine. ``offer``: what the coordinator said of it."""

    def __init__(self, offer: Mapping[str, Any], worker_id: str, environment: Mapping[str, str] = os.environ) -> None:
        self._root = Path(str(offer["root"]))
        self._marker, self._nonce = Path(str(offer["marker"])), str(offer["nonce"])
        self._packages = {str(name): str(version) for name, version in dict(offer["packages"]).items()}
        self._receipt = str(offer["receipt"])
        self._worker_id = worker_id
        self._environment = environment
        self._folder: Path | None = None

    def settle(self, channel: Channel) -> list[Any] | None:
        """Get the project, if it is not here; return the message after it, None where the other side is gone.

        LostError, told to the coordinator too, where this machine cannot run the suite.
        """
        try:
            problems = package_problems(self._worker_id, self._packages, installed_packages())
            if problems:
                raise LostError("; ".join(problems))
            if self._is_here():
                channel.send(["project", "here"])
            else:
                self._receive(channel)
                channel.send(["project", "ready"])
        except DrmError as error:
            with suppress(LostError):
                channel.send(["left", str(error)])
            raise LostError(str(error)) from None
        return channel.next()

    def _is_here(self) -> bool:
        if self._environment.get(OWN_PROJECT):
            return False
        try:
            return self._marker.read_text(encoding="ascii") == self._nonce
        except (OSError, UnicodeDecodeError):
            return False

    def _receive(self, channel: Channel) -> None:
        channel.send(["project", "elsewhere", self._receipt])
        listed, self._receipt = _answer(channel, "manifest")
        manifest = Manifest.from_json(str(listed))
        limit = self._environment.get("DRM_BUNDLE_CACHE_LIMIT")
        cache = BundleCache(
            cache_folder(self._environment), limit_bytes=parse_bytes(limit) if limit is not None else CACHE_BYTES
        )
        try:
            with cache.in_use():
                self._fetch(channel, cache, cache.missing(manifest))
                self._folder = Path(tempfile.mkdtemp(prefix="drm-project-"))
                cache.unpack(manifest, self._folder / "project")
        finally:
            cache.close()

    def _fetch(self, channel: Channel, cache: BundleCache, missing: Iterable[str]) -> None:
        """Fill the cache. The next parcel is asked for while the last one is written."""
        lacking = dict.fromkeys(missing)
        if lacking:
            self._ask(channel, lacking)
        while lacking:
            sent, self._receipt = _answer(channel, "pieces")
            before = len(lacking)
            for name, _ in sent:
                lacking.pop(str(name), None)
            if len(lacking) == before:
                raise LostError("the coordinator sent nothing of what it was asked for")
            if lacking:
                self._ask(channel, lacking)
            cache.put((str(name), base64.b64decode(data)) for name, data in sent)

    def _ask(self, channel: Channel, lacking: Iterable[str]) -> None:
        channel.send(["project", "want", self._receipt, list(islice(lacking, AT_ONCE))])

    def moved(self, suite: Suite) -> Suite:
        """Return the suite with the project's paths of this machine, and its own interpreter's path for the rest."""
        if self._folder is None:
            return suite
        tree = self._folder / "project"
        ours = [path for path in map(self._move, suite.sys_path) if path.startswith(str(tree)) and Path(path).exists()]
        basetemp = self._folder / "tmp"
        basetemp.mkdir(exist_ok=True)
        return replace(
            suite,
            args=tuple(arg.replace(str(self._root), str(tree)) for arg in suite.args),
            cwd=self._move(suite.cwd),
            sys_path=tuple(dict.fromkeys((*ours, *sys.path))),
            basetemp=str(basetemp),
        )

    def _move(self, path: str) -> str:
        assert self._folder is not None
        if not path or not Path(path).is_relative_to(self._root):
            return path
        return str(self._folder / "project" / Path(path).relative_to(self._root))

    def close(self) -> None:
        """Remove the project; its pieces stay in the cache."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where pieces are kept: ``$DRM_BUNDLE_CACHE``, else ``~/.cache/drm/bundles``."""
    given = environment.get("DRM_BUNDLE_CACHE")
    if given:
        return Path(given)
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "drm" / "bundles"


def _answer(channel: Channel, kind: str) -> tuple[Any, str]:
    """Return what is asked for, and the receipt."""
    message = channel.next()
    if message is None:
        raise LostError("the coordinator is gone")
    if message[0] != kind:
        raise LostError(f"the coordinator sent {message[0]!r} where {kind!r} was due")
    return message[1], str(message[2])
