"""The coordinator's side of carrying a project to workers that do not see its folder; the words are in
``drm.worker.project``."""

from __future__ import annotations

import base64
import fcntl
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from drm.bundle import LIMIT_BYTES, Bundle
from drm.model.errors import DrmError, LostError
from drm.model.units import format_bytes

__all__ = ["Carrier"]


class Carrier:
    """One project, for all workers of a run. It is read when the first worker needs it.

    ``packages``: what the collected suite imports, by name, with the versions. ``exclude``, ``limit_bytes``: as of
    ``Bundle.of``.
    """

    def __init__(
        self,
        root: Path,
        packages: Mapping[str, str],
        say: Callable[[str], None],
        *,
        exclude: Sequence[str] = (),
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self._root = root
        self._packages = dict(packages)
        self._say = say
        self._exclude, self._limit_bytes = tuple(exclude), limit_bytes
        self._bundle: Bundle | None = None
        self._nonce = secrets.token_hex(16)
        self._marker = root / ".drm" / f"here-{self._nonce[:8]}"
        self._held: IO[str] | None = None
        with suppress(OSError):  # then nobody sees it, and all are sent the project
            self._marker.parent.mkdir(exist_ok=True)
            _sweep(self._marker.parent)
            self._held = self._marker.open("w", encoding="ascii")
            self._held.write(self._nonce)
            self._held.flush()
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as long as we live

    def offer(self) -> list[Any]:
        """Return the first message to a worker that has come."""
        offer = {"root": str(self._root), "marker": str(self._marker), "nonce": self._nonce}
        return ["project", {**offer, "packages": self._packages}]

    def answers(self, worker_id: str, said: Sequence[Any]) -> Iterator[list[Any]] | None:
        """Return the messages that answer a worker's; None where it has the project and wants the suite.

        ConfigError where the project is too large to be sent, LostError for words that are none.
        """
        match list(said):
            case ["here"] | ["ready"]:
                return None
            case ["elsewhere"]:
                return iter([["manifest", self._read(worker_id).manifest.to_json()]])
            case ["want", list(digests)] if all(isinstance(digest, str) for digest in digests):
                return self._pieces(digests)
        raise LostError(f"it said {str(said)[:100]} of the project")

    def _read(self, worker_id: str) -> Bundle:
        if self._bundle is None:
            self._bundle = Bundle.of(self._root, exclude=self._exclude, limit_bytes=self._limit_bytes)
            manifest = self._bundle.manifest
            size = format_bytes(manifest.size)
            self._say(f"{worker_id} does not see {self._root}: sending {len(manifest.entries)} files, {size}")
            for note in self._bundle.notes:
                self._say(note)
        return self._bundle

    def _pieces(self, digests: Sequence[str]) -> Iterator[list[Any]]:
        if self._bundle is None:
            raise LostError("it asked for pieces before it was told which there are")
        for parcel in self._bundle.parcels(digests):
            yield ["pieces", [[name, base64.b64encode(data).decode("ascii")] for name, data in parcel]]

    def close(self) -> None:
        with suppress(OSError):
            self._marker.unlink()
        if self._held is not None:
            self._held.close()


def _sweep(folder: Path) -> None:
    """Remove the markers that nobody holds: their coordinators were killed."""
    for marker in folder.glob("here-*"):
        with suppress(OSError), marker.open(encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            marker.unlink()


def checked(carrier: Carrier | None, worker_id: str, said: Sequence[Any]) -> Iterator[list[Any]] | None:
    """``answers`` of a run that may carry nothing."""
    if carrier is None:
        raise DrmError(f"{worker_id} spoke of a project that was not offered")
    return carrier.answers(worker_id, said)
