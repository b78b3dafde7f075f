"""Pieces of projects on a worker, by their hash, and projects unpacked from them.

Several agents may use one folder at once: a piece appears whole or not at all, whoever uses pieces holds the lock
shared, and only who holds it alone removes some.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from drm.bundle.manifest import Entry, Manifest, digest_of
from drm.model.errors import CapacityError, DrmError, LostError
from drm.model.units import format_bytes

CACHE_BYTES = 4 * 2**30
_REMEDY = "free some space there, or name another folder for the cache"


class BundleCache:
    """Keeps at most about ``limit_bytes``: after use, what was used longest ago is removed."""

    def __init__(self, folder: Path, *, limit_bytes: int = CACHE_BYTES) -> None:
        self._pieces = folder / "pieces"
        self._limit_bytes = limit_bytes
        self._folder = folder
        with _said(folder):
            self._pieces.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the pieces: nobody removes any. From asking what is missing until the project is unpacked."""
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield
        finally:
            os.close(lock)

    def missing(self, manifest: Manifest) -> list[str]:
        """Return the pieces that are not here, each once."""
        return [piece for piece in manifest.pieces() if not self._path(piece).exists()]

    def put(self, pieces: Iterable[tuple[str, bytes]]) -> None:
        """Take pieces in. LostError for one that is not what its name says; CapacityError where the disk is full."""
        for name, content in pieces:
            if digest_of(content) != name:
                raise LostError(f"piece {name[:12]} was damaged on its way", remedy="send it again")
            path = self._path(name)
            with _said(self._folder):
                path.parent.mkdir(exist_ok=True)
                file, made = tempfile.mkstemp(dir=path.parent, prefix=".")
                try:
                    with os.fdopen(file, "wb") as opened:
                        opened.write(content)
                    os.replace(made, path)
                except BaseException:
                    with suppress(OSError):
                        os.unlink(made)
                    raise

    def unpack(self, manifest: Manifest, into: Path) -> Path:
        """Lay the project out in ``into``, a folder that is not there yet; it appears whole or not at all.

        LostError where pieces are missing. The files are copies: tests may change them.
        """
        manifest.check()
        with _said(into):
            into.parent.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.parent))
            try:
                for entry in manifest.entries:
                    self._lay(entry, made)
                made.rename(into)
            except BaseException:
                shutil.rmtree(made, ignore_errors=True)
                raise
        return into

    def _lay(self, entry: Entry, root: Path) -> None:
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.link:
            path.symlink_to(entry.link)
            return
        with path.open("wb") as file:
            for piece in entry.pieces:
                try:
                    source = self._path(piece)
                    file.write(source.read_bytes())
                    os.utime(source)  # used now
                except FileNotFoundError:
                    raise LostError(f"piece {piece[:12]} of {entry.path} is missing", remedy="send it again") from None
        path.chmod(entry.mode)

    def trim(self) -> int:
        """Remove what was used longest ago until the limit holds; return the bytes removed, 0 while others use it."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        try:
            return self._remove_oldest()
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _remove_oldest(self) -> int:
        found = []
        for path in self._pieces.glob("*/*"):  # unfinished ones too: whoever wrote them holds no lock any more
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        excess = sum(size for _, size, _ in found) - self._limit_bytes
        removed = 0
        for _, size, path in sorted(found):
            if removed >= excess:
                break
            with suppress(OSError):
                path.unlink()
                removed += size
        return removed

    def close(self) -> None:
        """Trim, and let the folder go."""
        self.trim()
        os.close(self._lock)

    def _path(self, piece: str) -> Path:
        return self._pieces / piece[:2] / piece


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """Turn an error of the system into one line."""
    try:
        yield
    except OSError as error:
        kind = CapacityError if error.errno in (28, 122) else DrmError  # ENOSPC, EDQUOT
        left = ""
        with suppress(OSError):
            left = f", {format_bytes(shutil.disk_usage(folder).free)} free"
        raise kind(f"the project cannot be kept in {folder} ({error.strerror}{left})", remedy=_REMEDY) from None
