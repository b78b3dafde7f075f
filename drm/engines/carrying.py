"""The coordinator's side of carrying a project to workers that do not see its folder; the words are in
``drm.worker.project``."""

from __future__ import annotations

import base64
import fcntl
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from drm.bundle import LIMIT_BYTES, PARCEL_BYTES, Bundle
from drm.model.errors import ConfigError, DrmError, LostError
from drm.model.units import format_bytes
from drm.worker.project import AT_ONCE

__all__ = ["Carrier"]


class Carrier:
    """One project, for all workers of a run. It is read when the first worker needs it.

    What a worker asks for (``asked``) is read when its turn comes, a parcel at a time (``given``): between two parcels
    the caller does what else there is to do. A worker may ask again with the receipt at the end of what it was sent
    last, so no more than one parcel is ever on its way to it.

    ``packages``: what the collected suite imports, by name, with the versions. ``exclude``, ``limit_bytes``: as of
    ``Bundle.reading``.
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
        self._reading: Generator[int, None, Bundle] | None = None
        self._asked: dict[str, list[str] | None] = {}  # who waits, in turn: for these pieces, or for the list of files
        self._receipts: dict[str, str] = {}  # with what each may ask next
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

    def offer(self, worker_id: str) -> list[Any]:
        """Return the first message to a worker that has come."""
        receipt = self._receipts[worker_id] = secrets.token_hex(8)
        offer = {"root": str(self._root), "marker": str(self._marker), "nonce": self._nonce}
        return ["project", {**offer, "packages": self._packages, "receipt": receipt}]

    def asked(self, worker_id: str, said: Sequence[Any]) -> bool:
        """Note what a worker asks for; tell whether it has the project, and wants the suite.

        LostError for words that are none, and where it has not had yet what it was sent last.
        """
        match list(said):
            case ["here"] | ["ready"]:
                self.forget(worker_id)
                return True
            case ["elsewhere", str(receipt)]:
                wanted = None
            case ["want", str(receipt), list(digests)] if all(isinstance(digest, str) for digest in digests):
                wanted = digests[:AT_ONCE]
            case _:
                raise LostError(f"it said {str(said)[:100]} of the project")
        if self._receipts.pop(worker_id, None) != receipt:
            raise LostError("it asked for more of the project before it had what it was sent")
        self._asked[worker_id] = wanted
        return False

    @property
    def is_asked(self) -> bool:
        """Tell whether there is something to give."""
        return bool(self._asked)

    def given(self) -> tuple[str, list[Any]] | None:
        """Return a worker that asked, and what it is to be sent: ["left", why] where that cannot be had.

        None where nobody asked, and while the project is being read: that is done 4 MiB at a call. ConfigError where
        it is too large to be sent: it is the same for all workers.
        """
        worker_id = next(iter(self._asked), None)
        if worker_id is None:
            return None
        try:
            message = self._message(worker_id, self._asked[worker_id])
        except ConfigError:
            raise
        except DrmError as error:
            message = ["left", str(error)]
        if message is None:
            return None
        del self._asked[worker_id]
        return worker_id, message

    def _message(self, worker_id: str, wanted: list[str] | None) -> list[Any] | None:
        if self._bundle is None:
            self._bundle = self._read_on(worker_id)
            return None
        receipt = self._receipts[worker_id] = secrets.token_hex(8)
        if wanted is None:
            return ["manifest", self._bundle.manifest.to_json(), receipt]
        parcel = self._bundle.parcel(wanted)
        return ["pieces", [[name, base64.b64encode(data).decode("ascii")] for name, data in parcel], receipt]

    def _read_on(self, worker_id: str) -> Bundle | None:
        """Read a little more of the project; return it when it is read. After an error, the next call begins anew."""
        reading = self._reading or Bundle.reading(self._root, exclude=self._exclude, limit_bytes=self._limit_bytes)
        self._reading = None
        room = PARCEL_BYTES
        try:
            while room > 0:
                room -= next(reading)
        except StopIteration as end:
            bundle: Bundle = end.value
        else:
            self._reading = reading
            return None
        size = format_bytes(bundle.manifest.size)
        self._say(f"{worker_id} does not see {self._root}: sending {len(bundle.manifest.entries)} files, {size}")
        for note in bundle.notes:
            self._say(note)
        return bundle

    def forget(self, worker_id: str) -> None:
        """A worker has gone, or needs no more."""
        self._asked.pop(worker_id, None)
        self._receipts.pop(worker_id, None)

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


def checked(carrier: Carrier | None, worker_id: str, said: Sequence[Any]) -> bool:
    """``asked`` of a run that may carry nothing."""
    if carrier is None:
        raise DrmError(f"{worker_id} spoke of a project that was not offered")
    return carrier.asked(worker_id, said)
