"""Reading a project: its manifest, and the pieces that a worker lacks."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

from drm.bundle.files import project_files
from drm.bundle.manifest import Entry, Manifest, digest_of, link_stays_inside
from drm.model.errors import ConfigError, DrmError
from drm.model.units import format_bytes

PIECE_BYTES = 4 * 2**20
LIMIT_BYTES = 512 * 2**20
PARCEL_BYTES = 4 * 2**20  # what is read at a time, and goes in one message
_NAME_BYTES = 100  # what a piece takes beside its content
_FILE_BYTES = 16 * 2**10  # to open a file takes as long as to read so much


class Bundle:
    """A project as it is now. ``notes``: a line for each thing that was left out."""

    def __init__(self, root: Path, manifest: Manifest, notes: Sequence[str] = ()) -> None:
        self.root = root
        self.manifest = manifest
        self.notes = tuple(notes)
        self._places: dict[str, tuple[str, int, int]] = {}  # of each piece: file, where in it, size
        for entry in manifest.entries:
            for number, piece in enumerate(entry.pieces):
                start = number * PIECE_BYTES
                self._places.setdefault(piece, (entry.path, start, min(PIECE_BYTES, entry.size - start)))

    @classmethod
    def reading(
        cls, root: Path, *, exclude: Sequence[str] = (), limit_bytes: int = LIMIT_BYTES
    ) -> Generator[int, None, Bundle]:
        """Read the project below ``root``; yields often, for who has other things to do: the bytes read since.

        ConfigError where it is larger than ``limit_bytes``, before it is read.
        """
        paths = project_files(root, exclude)
        sizes = {path: (root / path).lstat().st_size for path in paths}
        if sum(sizes.values()) > limit_bytes:
            raise _too_large(root, sizes, limit_bytes)
        notes: list[str] = []
        entries: list[Entry] = []
        for path in paths:
            entry = yield from _entry(root, path, notes)
            if entry is not None:
                entries.append(entry)
        manifest = Manifest(tuple(entries))
        manifest.check()
        return cls(root, manifest, notes)

    def parcel(self, pieces: Iterable[str]) -> list[tuple[str, bytes]]:
        """Return the first of the pieces asked for, 4 MiB at most; none that is not of the project.

        DrmError where a file has changed since.
        """
        parcel: list[tuple[str, bytes]] = []
        room = PARCEL_BYTES
        for piece in pieces:
            if piece not in self._places:
                continue
            path, start, size = self._places[piece]
            room -= size + _NAME_BYTES
            if parcel and room < 0:
                break
            content = next(_pieces_of(self.root / path, start), b"")
            if digest_of(content) != piece:
                raise DrmError(f"{path} has changed since the run began", remedy="run again")
            parcel.append((piece, content))
        return parcel


def _pieces_of(path: Path, start: int = 0) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(start)
            while piece := file.read(PIECE_BYTES):
                yield piece
    except OSError as error:
        raise DrmError(f"{path} cannot be read ({error.strerror})", remedy="change its mode, or ignore it") from None


def _entry(root: Path, path: str, notes: list[str]) -> Generator[int, None, Entry | None]:
    yield _FILE_BYTES
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
        yield len(content)
    return Entry(path=path, mode=stat.S_IMODE(found.st_mode) & 0o777, size=size, pieces=tuple(pieces))


def _too_large(root: Path, sizes: dict[str, int], limit_bytes: int) -> ConfigError:
    largest = max(sizes, key=sizes.__getitem__)
    return ConfigError(
        f"{root} has {format_bytes(sum(sizes.values()))} in {len(sizes)} files ({largest} alone "
        f"{format_bytes(sizes[largest])}), and at most {format_bytes(limit_bytes)} are sent to workers",
        remedy="name what tests do not need in .gitignore or [drm] bundle_exclude, or raise [drm] bundle_limit",
    )
