"""What a bundle holds: paths, modes, link targets and the hashes of pieces. Read from another machine: checked."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from dataclasses import dataclass

from drm.model.errors import ConfigError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_ENTRIES = 2_000_000


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of a piece, in hex: its name."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file or symbolic link. ``path``: below the project, with slashes. ``mode``: its permission bits.

    ``pieces``: digests of its content, in order; ``link``: the target of a link, else empty.
    """

    path: str
    mode: int = 0o644
    size: int = 0
    pieces: tuple[str, ...] = ()
    link: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All entries of a project, sorted by path. Two projects are the same where ``digest`` is."""

    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        return digest_of(self.to_json().encode("utf-8", "surrogatepass"))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    def pieces(self) -> list[str]:
        """Return the digest of each piece, once."""
        return list(dict.fromkeys(piece for entry in self.entries for piece in entry.pieces))

    def to_json(self) -> str:
        rows = [[entry.path, entry.mode, entry.size, list(entry.pieces), entry.link] for entry in self.entries]
        return json.dumps(rows, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what ``to_json`` wrote; ConfigError where it would write anything outside of its folder."""
        try:
            rows = json.loads(text)
            entries = tuple(
                Entry(path=path, mode=mode, size=size, pieces=tuple(pieces), link=link)
                for path, mode, size, pieces, link in rows
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigError(f"the list of a project's files is damaged ({error})", remedy="run again") from None
        made = cls(entries)
        made.check()
        return made

    def check(self) -> None:
        """Raise ConfigError for an entry that leaves the folder, or lies below one that is no folder."""
        if len(self.entries) > _MOST_ENTRIES:
            raise _refused(f"{len(self.entries)} files", "are too many")
        leaves: set[str] = set()
        for entry in self.entries:
            _check_types(entry)
            if entry.path in leaves:
                raise _refused(entry.path, "is there twice")
            leaves.add(entry.path)
        for entry in self.entries:
            above = posixpath.dirname(entry.path)
            while above:
                if above in leaves:
                    raise _refused(entry.path, f"lies below {above!r}, which is no folder")
                above = posixpath.dirname(above)


def is_inside(path: str) -> bool:
    """Tell whether a relative path stays below where it starts, and is written in the one way there is."""
    return (
        bool(path)
        and "\0" not in path
        and not path.startswith("/")
        and path == posixpath.normpath(path)
        and (path not in (".", "..") and not path.startswith("../"))
    )


def link_stays_inside(path: str, target: str) -> bool:
    """Tell whether a link at ``path`` leads to something in the same project."""
    if not target or target.startswith("/") or "\0" in target:
        return False
    led = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return led == "." or is_inside(led)


def _check_types(entry: Entry) -> None:
    if not isinstance(entry.path, str) or not is_inside(entry.path):
        raise _refused(str(entry.path), "is no path inside of the project")
    if not isinstance(entry.link, str) or (entry.link and not link_stays_inside(entry.path, entry.link)):
        raise _refused(entry.path, "is a link that leads out of the project")
    numbers = (entry.mode, entry.size)
    if any(type(number) is not int or number < 0 for number in numbers) or entry.mode > 0o777:
        raise _refused(entry.path, "has an impossible mode or size")
    if not all(isinstance(piece, str) and _DIGEST.fullmatch(piece) for piece in entry.pieces):
        raise _refused(entry.path, "has a piece with an impossible name")


def _refused(path: str, why: str) -> ConfigError:
    return ConfigError(f"the project was not unpacked: {path[:200]!r} {why}", remedy="send it from a trusted machine")
