"""A project arrives on a worker as it lies here, and only what is missing is sent."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drm.bundle import Bundle, BundleCache, Entry, Manifest, project_files
from drm.bundle.files import _all_files
from drm.bundle.manifest import digest_of
from drm.bundle.packing import PIECE_BYTES
from drm.model.errors import CapacityError, ConfigError, DrmError, LostError


def write(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.com")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def read(root: Path, **options: Any) -> Bundle:
    reading = Bundle.reading(root, **options)
    while True:
        try:
            assert next(reading) > 0
        except StopIteration as end:
            return end.value


def carry(bundle: Bundle, cache: BundleCache, into: Path) -> int:
    """Send what is missing and unpack; return how many pieces were sent."""
    with cache.in_use():
        manifest = Manifest.from_json(bundle.manifest.to_json())
        missing = cache.missing(manifest)
        while left := cache.missing(manifest):
            cache.put(bundle.parcel(left))
        cache.unpack(manifest, into)
    return len(missing)


def tree(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
    return found


def test_a_project_arrives_with_its_modes_links_and_changes(tmp_path: Path) -> None:
    root = write(tmp_path / "p", {".gitignore": b"*.log\n", "a/b.py": b"1", "run.sh": b"#!/bin/sh", "big": bytes(9)})
    (root / "run.sh").chmod(0o755)
    (root / "big").write_bytes(os.urandom(2 * PIECE_BYTES + 5))
    (root / "a" / "link").symlink_to("../run.sh")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    write(root, {"a/b.py": b"changed", "new.py": b"", "noise.log": b"x", "a/__pycache__/b.pyc": b"x"})
    (root / "away").symlink_to("/etc/passwd")
    bundle = read(root)
    assert bundle.notes == ("away links to /etc/passwd, outside of the project, and is not sent to workers",)
    cache = BundleCache(tmp_path / "cache")
    assert carry(bundle, cache, tmp_path / "w1") == len(bundle.manifest.pieces())
    expected = tree(root)
    for name in [*(n for n in expected if n.startswith(".git/")), "noise.log", "a/__pycache__/b.pyc", "away"]:
        del expected[name]
    assert tree(tmp_path / "w1") == expected
    write(root, {"a/b.py": b"again"})
    assert carry(read(root), cache, tmp_path / "w2") == 1, "only what has changed is sent"
    (tmp_path / "w2" / "a" / "b.py").write_bytes(b"a test wrote this")
    assert carry(read(root), cache, tmp_path / "w3") == 0
    assert (tmp_path / "w3" / "a" / "b.py").read_bytes() == b"again"


def test_without_git_all_is_taken_less_what_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a.py": b"", "s/b.py": b"", ".venv/x": b"", "s/__pycache__/b.pyc": b"", "out.log": b""}
    root = write(tmp_path / "p", {**files, ".gitignore": b"*.log"})
    assert project_files(root) == [".gitignore", "a.py", "s/b.py"]
    assert project_files(root, exclude=["s/*"]) == [".gitignore", "a.py"]
    monkeypatch.setattr(shutil, "which", lambda name: None)  # nothing reads .gitignore then
    assert sorted(_all_files(root)) == [".gitignore", "a.py", "out.log", "s/b.py"]


def test_a_repository_within_the_project_is_taken_too(tmp_path: Path) -> None:
    root = write(tmp_path / "p", {"a.py": b"", "inner/b.py": b"", "deleted.py": b""})
    for folder in (root / "inner", root):
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "x")
    (root / "deleted.py").unlink()
    assert project_files(root) == ["a.py", "inner/b.py"]


def test_a_project_that_is_too_large_is_told_with_the_remedy(tmp_path: Path) -> None:
    root = write(tmp_path / "p", {"a.py": b"1", "data.bin": bytes(3000)})
    with pytest.raises(ConfigError) as raised:
        read(root, limit_bytes=2048)
    told = str(raised.value)
    assert "\n" not in told
    for part in ("data.bin", "bundle_exclude", "bundle_limit", "2 KiB"):
        assert part in told
    read(root, limit_bytes=2048, exclude=["*.bin"])


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    root = write(tmp_path / "p", {"a.py": b"1"})
    bundle = read(root)
    write(root, {"a.py": b"2"})
    with pytest.raises(DrmError, match=r"a\.py has changed"):
        bundle.parcel(bundle.manifest.pieces())


PIECE = digest_of(b"x")


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(path="../x")],
        [Entry(path="/etc/x")],
        [Entry(path="a/../../x")],
        [Entry(path="a//b")],
        [Entry(path="")],
        [Entry(path=".")],
        [Entry(path="a\0b")],
        [Entry(path="l", link="/etc")],
        [Entry(path="a/l", link="../../x")],
        [Entry(path="l", link="d"), Entry(path="l/x", pieces=(PIECE,))],
        [Entry(path="f", pieces=(PIECE,)), Entry(path="f/g", pieces=(PIECE,))],
        [Entry(path="f"), Entry(path="f")],
        [Entry(path="f", mode=0o4755)],
        [Entry(path="f", pieces=("../../x",))],
        [Entry(path="f", size=-1)],
    ],
)
def test_nothing_is_written_outside_of_the_folder(tmp_path: Path, entries: list[Entry]) -> None:
    manifest = Manifest(tuple(entries))
    with pytest.raises(ConfigError, match="not unpacked"):
        Manifest.from_json(manifest.to_json())
    cache = BundleCache(tmp_path / "cache")
    cache.put([(PIECE, b"x")])
    with pytest.raises(ConfigError, match="not unpacked"):
        cache.unpack(manifest, tmp_path / "w")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("text", ["", "{}x", "[1]", "[[1,2]]", "[" * 100_000])
def test_a_damaged_list_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="damaged"):
        Manifest.from_json(text)


def test_pieces_that_are_wrong_or_missing_leave_nothing(tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache")
    with pytest.raises(LostError, match="damaged on its way"):
        cache.put([(PIECE, b"y")])
    manifest = Manifest((Entry(path="a", size=1, pieces=(PIECE,)),))
    with pytest.raises(LostError, match="missing"):
        cache.unpack(manifest, tmp_path / "w")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_full_disk_is_told_and_leaves_no_half_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = BundleCache(tmp_path / "cache")

    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CapacityError, match=r"No space left on device.* free\); free some space"):
        cache.put([(PIECE, b"x")])
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != "lock"]


def test_the_cache_forgets_what_was_used_longest_ago_and_nothing_in_use(tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache", limit_bytes=25)
    contents = [bytes([n]) * 10 for n in range(4)]
    for age, content in enumerate(contents):
        cache.put([(digest_of(content), content)])
        os.utime(cache._path(digest_of(content)), (age, age))
    one = Manifest((Entry(path="a", size=10, pieces=(digest_of(contents[0]),)),))
    with cache.in_use():
        assert BundleCache(tmp_path / "cache", limit_bytes=0).trim() == 0, "another agent unpacks"
        cache.unpack(one, tmp_path / "w")
    assert cache.trim() == 20
    assert [cache.missing(Manifest((Entry(path="a", pieces=(digest_of(c),)),))) == [] for c in contents] == [
        True,
        False,
        False,
        True,
    ]


def test_many_agents_fill_and_trim_one_cache_at_once(tmp_path: Path) -> None:
    root = write(tmp_path / "p", {f"f{n}": bytes([n]) * 2000 for n in range(40)})
    bundle = read(root)
    broken: list[BaseException] = []

    def agent(number: int) -> None:
        try:
            cache = BundleCache(tmp_path / "cache", limit_bytes=10_000)
            for again in range(3):
                carry(bundle, cache, tmp_path / "w" / f"{number}-{again}")
                cache.trim()
        except BaseException as error:
            broken.append(error)

    agents = [threading.Thread(target=agent, args=(n,)) for n in range(4)]
    for thread in agents:
        thread.start()
    for thread in agents:
        thread.join()
    assert broken == []
    assert all(tree(folder) == tree(root) for folder in (tmp_path / "w").iterdir())
    assert len(list((tmp_path / "w").iterdir())) == 12


names = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="/\0"), min_size=1, max_size=8)
paths = st.lists(names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(paths, st.binary(max_size=50), max_size=8))
def test_whatever_the_names_what_arrives_is_what_was_sent(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    cache = BundleCache(folder / "cache")
    taken = {p: c for p, c in files.items() if not any(o.startswith(f"{p}/") for o in files)}
    entries = [Entry(path=p, size=len(c), pieces=(digest_of(c),)) for p, c in sorted(taken.items())]
    cache.put((digest_of(content), content) for content in taken.values())
    manifest = Manifest.from_json(Manifest(tuple(entries)).to_json())
    cache.unpack(manifest, folder / "w")
    assert {path: kept[0] for path, kept in tree(folder / "w").items()} == taken  # type: ignore[index]
