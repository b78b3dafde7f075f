"""Reading a project: its manifest, and the pieces that a worker lacks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from drm.bundle.files import project_files
from drm.bundle.manifest import Entry, Manifest, digest_of, link_stays_inside
from drm.model.errors import ConfigError, DrmError
from drm.model.units import format_bytes

PIECE_BYTES = 4 * 2**20
LIMIT_BYTES = 512 * 2**20
_PARCEL_BYTES = 4 * 2**20  # what goes in one message, unless one piece is larger


class Bundle:
    """A project as it is now. ``notes``: a line for each thing that was left out."""

    def __init__(self, root: Path, manifest: Manifest, notes: Sequence[str] = ()) -> None:
        self.root = root
        self.manifest = manifest
        self.notes = tuple(notes)

    @classmethod
    def of(cls, root: Path, *, exclude: Sequence[str] = (), limit_bytes: int = LIMIT_BYTES) -> Bundle:
        """Read the project below ``root``; ConfigError where it is larger than ``limit_bytes``, before it is read."""
        paths = project_files(root, exclude)
        sizes = {path: (root / path).lstat().st_size for path in paths}
        if sum(sizes.values()) > limit_bytes:
            raise _too_large(root, sizes, limit_bytes)
        notes: list[str] = []
        entries = [entry for path in paths if (entry := _entry(root, path, notes)) is not None]
        manifest = Manifest(tuple(entries))
        manifest.check()
        return cls(root, manifest, notes)

    def parcels(self, pieces: Iterable[str]) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the pieces asked for, some MiB at a time; DrmError where a file has changed since."""
        wanted = set(pieces)
        parcel: list[tuple[str, bytes]] = []
        room = _PARCEL_BYTES
        for entry in self.manifest.entries:
            if wanted.isdisjoint(entry.pieces):
                continue
            data = _pieces_of(self.root / entry.path)
            for piece in entry.pieces:
                content = next(data, b"")
                if piece not in wanted:
                    continue
                if digest_of(content) != piece:
                    raise DrmError(f"{entry.path} has changed since the run began", remedy="run again")
                wanted.discard(piece)
                if parcel and len(content) > room:
                    yield parcel
                    parcel, room = [], _PARCEL_BYTES
                parcel.append((piece, content))
                room -= len(content)
        if parcel:
            yield parcel


def _pieces_of(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except OSError as error:
        raise DrmError(f"{path} cannot be read ({error.strerror})", remedy="change its mode, or ignore it") from None


def _entry(root: Path, path: str, notes: list[str]) -> Entry | None:
    found = (root / path).lstat()
    if stat.S_ISLNK(found.st_mode):
        target = os.readlink(root / path)
        if link_stays_inside(path, target):
            return Entry(path=path, mode=0o777, link=target)
        notes.append(f"{path} links to {target}, outside of the project, and is not sent to workers")
        return None
    if not stat.S_ISREG(found.st_mode):
        notes.append(f"{path} is no file, and is not sent to workers")
        return None
    pieces, size = [], 0
    for content in _pieces_of(root / path):
        pieces.append(digest_of(content))
        size += len(content)
    return Entry(path=path, mode=stat.S_IMODE(found.st_mode) & 0o777, size=size, pieces=tuple(pieces))


def _too_large(root: Path, sizes: dict[str, int], limit_bytes: int) -> ConfigError:
    largest = max(sizes, key=sizes.__getitem__)
    return ConfigError(
        f"{root} has {format_bytes(sum(sizes.values()))} in {len(sizes)} files ({largest} alone "
        f"{format_bytes(sizes[largest])}), and at most {format_bytes(limit_bytes)} are sent to workers",
        remedy="name what tests do not need in .gitignore or [drm] bundle_exclude, or raise [drm] bundle_limit",
    )
