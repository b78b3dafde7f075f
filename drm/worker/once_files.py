"""The files through which the processes of a run share a value of ``drm_once``.

They are in a folder of the run beside the executors' temp folders: the kernel frees the lock of a
process that dies, so that another makes what it did not finish; executors of any start method and
pytest-xdist's workers find the folder alike. The files reach as far as one machine does.

Whoever uses a value holds a shared lock on its ``users`` file for as long as it lives. Who ends, and finds that nobody
else holds one, tears the value down; so its maker may be gone by then.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drm.model.errors import DrmError

Factory = Callable[[], Any]
Teardown = Callable[[Any], object]
NOTHING = object()
_LOCAL = b"local"  # a teardown that cannot be pickled


class OnceError(DrmError):
    """A shared value could not be made, here or in another process of the run."""


def once_folder(basetemp: Path, run_id: str) -> Path:
    return basetemp / f"drm-once-{run_id}"


@dataclass(frozen=True, slots=True)
class _Entry:
    """``made``: "made", "skipped" or "failed"; ``content``: the pickled value, or a message."""

    made: str
    content: Any
    teardown: bytes | None = None


class SharedValue:
    """The files of one value: ``lock``, ``users``, and ``value``, which is there once it has been made."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._path = folder / hashlib.sha256(name.encode()).hexdigest()[:16]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other processes out; they wait."""
        descriptor = self._open("lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open(self, suffix: str) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a test may have emptied the temp folder
        return os.open(self._path.with_suffix(f".{suffix}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def use(self) -> int:
        """Count this process among the users, until the descriptor is closed."""
        descriptor = self._open("users")
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def read(self) -> Any:
        """Return the value, raise the error that its maker met, or return NOTHING when none has been made."""
        try:
            entry = pickle.loads(self._path.with_suffix(".value").read_bytes())
        except FileNotFoundError:
            return NOTHING
        if entry.made == "skipped":
            pytest.skip(entry.content)
        if entry.made == "failed":
            raise OnceError(entry.content)
        return pickle.loads(entry.content)

    def make(self, factory: Factory, teardown: Teardown | None) -> Any:
        try:
            value = factory()
            self._write(_Entry("made", self._pickled(value, teardown), _pickled_or_none(teardown)))
        except pytest.skip.Exception as skipped:
            self._write(_Entry("skipped", str(skipped.msg)))
            raise
        except (Exception, pytest.fail.Exception) as error:
            self._write(_Entry("failed", self._told(error)))
            raise
        return value

    def _told(self, error: BaseException) -> str:
        """Return what other processes are told of an error."""
        if isinstance(error, OnceError):
            return str(error)
        who = os.environ.get("PYTEST_XDIST_WORKER", f"process {os.getpid()}")
        return f"drm_once {self._name!r} failed in {who}: {type(error).__name__}: {error}"

    def _pickled(self, value: Any, teardown: Teardown | None) -> bytes:
        try:
            return pickle.dumps(value)
        except Exception as error:
            if teardown is not None:
                teardown(value)
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise OnceError(
                f"drm_once {self._name!r}: its value cannot be sent to other processes ({reason})",
                remedy="return what can be pickled, such as an address or a path",
            ) from error

    def _write(self, entry: _Entry) -> None:
        new = self._path.with_suffix(".new")
        new.write_bytes(pickle.dumps(entry))
        os.replace(new, self._path.with_suffix(".value"))

    def leave(self, users: int, value: Any, teardown: Teardown | None) -> None:
        """Be no user any more; the last one tears the value down."""
        with self.locked():
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            finally:
                os.close(users)  # all others are kept out by the other lock
            self._path.with_suffix(".value").unlink(missing_ok=True)
            if teardown is not None:
                teardown(value)


def _pickled_or_none(teardown: Teardown | None) -> bytes | None:
    """Return the teardown for others to call, if only they are left to do so."""
    try:
        return pickle.dumps(teardown) if teardown is not None else None
    except Exception:
        return _LOCAL


def sweep(folder: Path) -> Iterator[str]:
    """Tear down what nobody could because all who used it died; yield a line for each value that stays."""
    for path in sorted(folder.glob("*.value")):
        try:
            entry = pickle.loads(path.read_bytes())
            if entry.teardown == _LOCAL:
                raise OnceError("its teardown is a local function, which no other process can call")
            if entry.teardown is not None:
                pickle.loads(entry.teardown)(pickle.loads(entry.content))
        except Exception as error:
            yield f"a value of drm_once was not torn down, all processes that used it died before: {error!r}"
        path.unlink(missing_ok=True)
