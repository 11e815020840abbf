"""Locks on files, and on ``gs://`` on objects (see `gcs_lock`).

On a disk the kernel releases a lock when its holder dies, however it dies. The lock is on the file
itself, so the file is never replaced and never deleted. A copy of a folder by hard links has the
same files, and so the same locks: the file says which path it is the lock of.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision.lock_holder import (
    LockHeldError,
    describe_this_process,
    in_use_message,
    parse_holder,
)
from deepmac_ablate.storage import disk
from deepmac_ablate.storage.disk import StorageError

if TYPE_CHECKING:
    from deepmac_ablate.launch.supervision.gcs_lock import GcsLock

__all__ = [
    "FileLock", "LockHeldError", "acquire", "describe_this_process", "is_held", "read_holder"]

# A process that tests whether a lock is held holds it, shared, for some microseconds.
_SECONDS_OF_TRIES = 1.0
_SECONDS_BETWEEN_TRIES = 0.02


def acquire(
    path: str | os.PathLike[str], holder: Mapping[str, Any], patience: float = 0.0
) -> FileLock | GcsLock:
    """Acquire a lock on a disk or on ``gs://``.

    Args:
        path: Lock file or object; a folder on a disk must exist.
        holder: Description of the holder for others to read, such as `describe_this_process`.
        patience: Seconds to wait on ``gs://`` for a holder that gives no sign of life.

    Raises:
        LockHeldError: If another process holds the lock; the message describes the holder.
        UserError: If the lock cannot be acquired for another reason.
    """
    if not disk.is_remote(path):
        return FileLock.acquire(Path(path), holder)
    # A second of imports, which supervisors on a disk can do without.
    from deepmac_ablate.launch.supervision.gcs_lock import GcsLock

    return GcsLock.acquire(os.fspath(path), holder, patience)


class FileLock:
    """Lock on a file, held until `release`, the end of the context, or the death of this process.

    Programs started by this process do not inherit it, unless `descriptor` is passed to them: then
    it is held as long as any of them lives.

    Attributes:
        path: Lock file.
        descriptor: Descriptor of the open file; -1 after `release`.
        lost: False: on a disk, no other process can take the lock over.
    """

    lost = False

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path, holder: Mapping[str, Any]) -> FileLock:
        """Acquire a lock.

        Args:
            path: Lock file in an existing folder; created if missing.
            holder: Description of the holder for others to read, such as `describe_this_process`.

        Raises:
            LockHeldError: If another process holds the lock; the message describes the holder.
            UserError: If the file cannot be opened, or belongs to another folder (a hard link).
        """
        if (other := _linked_path(path)) is not None:
            raise UserError(
                f"{path.parent} is a copy of {other.parent} by hard links, so that both would "
                "write to the same files; make a copy with files of its own: cp -r.")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"Cannot open the lock {path}: {error.strerror}.") from error
        deadline = time.monotonic() + _SECONDS_OF_TRIES
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise LockHeldError(_held_message(path))
            time.sleep(_SECONDS_BETWEEN_TRIES)
        # The content only informs people; on a full disk the lock holds without it.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            fields = {**holder, "path": os.path.realpath(path)}
            os.pwrite(descriptor, json.dumps(fields).encode() + b"\n", 0)
        return cls(path, descriptor)

    def release(self) -> None:
        """Release the lock; programs that inherited the descriptor still hold it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def is_held(path: str | os.PathLike[str]) -> bool:
    """Return whether some process, maybe this one, holds a lock.

    Returns:
        False also if the file is missing, or is a hard link to the lock of another folder.
    """
    if disk.is_remote(path):
        return _read_remote_holder(path) is not None
    with disk.translating_errors(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
    try:
        # Closing the file releases the shared lock.
        return not _try_lock(descriptor, fcntl.LOCK_SH) and _linked_path(path) is None
    finally:
        os.close(descriptor)


def read_holder(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the description of a lock's holder; None if the lock is free or it is illegible."""
    if disk.is_remote(path):
        return _read_remote_holder(path) or None
    if not is_held(path):
        return None
    with contextlib.suppress(StorageError):
        return parse_holder(disk.read(path) or b"")
    return None


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _linked_path(path: str | os.PathLike[str]) -> Path | None:
    """Return the path in another folder that a lock file is a hard link to; None if it is none."""
    path = Path(path)
    with contextlib.suppress(OSError):
        if path.stat().st_nlink > 1 and (holder := parse_holder(disk.read(path) or b"")):
            other = Path(holder.get("path") or path)
            # One folder may have several paths, and others on other machines.
            if path.samefile(other) and not path.parent.samefile(other.parent):
                return other
    return None


def _read_remote_holder(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    from deepmac_ablate.launch.supervision import gcs_lock

    return gcs_lock.read_holder(os.fspath(path))


def _held_message(path: Path) -> str:
    holder = read_holder(path)
    kill = "" if holder is None else f" or end it there with `kill {holder.get('pid', 'unknown')}`"
    return f"{in_use_message(path, holder)}; wait for it{kill}."
