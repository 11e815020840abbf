"""Locks on files, and on ``gs://`` on objects (see `gcs_lock`).

On a disk the kernel releases a lock when its holder dies, however it dies. The lock is on the file
itself, so the file is never replaced and never deleted. A copy of a folder by hard links has the
same files, and so the same locks: the file says which path it is the lock of. On a disk that cannot
lock files for all machines, leases take the place of locks (see `disk_lease`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import disk_lease
from deepmac_ablate.launch.supervision.disk_lease import DiskLease
from deepmac_ablate.launch.supervision.lock_holder import (
    Lock,
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
    "DiskLease", "FileLock", "LockHeldError", "acquire", "describe_this_process",
    "find_lease_reason", "is_held", "read_holder"]

# A process that tests whether a lock is held holds it, shared, for some microseconds.
_SECONDS_OF_TRIES = 1.0
_SECONDS_BETWEEN_TRIES = 0.02

# Errors of file systems that cannot lock files, such as Lustre mounted without "flock".
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
# The answer of `find_lease_reason` by device, as the same file system always gives the same one.
_lease_reasons: dict[int, str] = {}


def acquire(
    path: str | os.PathLike[str], holder: Mapping[str, Any], patience: float = 0.0
) -> FileLock | DiskLease | GcsLock:
    """Acquire a lock on a disk or on ``gs://``.

    Args:
        path: Lock file or object; a folder on a disk must exist.
        holder: Description of the holder for others to read, such as `describe_this_process`.
        patience: Seconds to wait for a holder on another machine that gives no sign of life. Locks
            of files give none, so that they are waited for in any case.

    Raises:
        LockHeldError: If another process holds the lock; the message describes the holder.
        UserError: If the lock cannot be acquired for another reason.
    """
    try:
        if disk.is_remote(path):
            # A second of imports, which supervisors on a disk can do without.
            from deepmac_ablate.launch.supervision.gcs_lock import GcsLock

            return GcsLock.acquire(os.fspath(path), holder, patience)
        if find_lease_reason(path):
            return DiskLease.acquire(Path(path), holder, patience)
    except LockHeldError as error:
        error.can_expire = True
        raise
    return FileLock.acquire(Path(path), holder, patience)


def find_lease_reason(path: str | os.PathLike[str]) -> str:
    """Return why a lock on a disk is a lease; empty if the file itself is locked.

    Args:
        path: Lock file in an existing folder; created if missing.
    """
    path = Path(path)
    try:
        device = path.parent.stat().st_dev
        if device not in _lease_reasons:
            _lease_reasons[device] = disk_lease.find_local_locks(path) or _try_out(path)
        return _lease_reasons[device]
    except OSError:
        # Acquiring the lock reports it.
        return ""


class FileLock(Lock):
    """Lock on a file, held until `release`, the end of the context, or the death of this process.

    Programs started by this process do not inherit it, unless `descriptor` is passed to them: then
    it is held as long as any of them lives.

    Attributes:
        path: Lock file.
        descriptor: Descriptor of the open file; -1 after `release`.
        descriptors: That descriptor, for programs that shall hold the lock, too.
        taken_over: False: no other process can take the lock over.
    """

    taken_over = False

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path, holder: Mapping[str, Any], patience: float = 0.0) -> FileLock:
        """Acquire a lock.

        Args:
            path: Lock file in an existing folder; created if missing.
            holder: Description of the holder for others to read, such as `describe_this_process`.
            patience: Seconds to wait for a holder on another machine, whose locks a file server
                keeps for a while after a crash.

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
        started = time.monotonic()
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            waited = time.monotonic() - started
            if waited > _SECONDS_OF_TRIES and (waited > patience or not _is_elsewhere(path)):
                os.close(descriptor)
                raise LockHeldError(_held_message(path))
            time.sleep(_SECONDS_BETWEEN_TRIES)
        # The content only informs people; on a full disk the lock holds without it.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            fields = {**holder, "path": os.path.realpath(path)}
            os.pwrite(descriptor, json.dumps(fields).encode() + b"\n", 0)
        return cls(path, descriptor)

    @property
    def descriptors(self) -> Sequence[int]:
        """The descriptor, by which programs inherit the lock."""
        return (self.descriptor,)

    def release(self) -> None:
        """Release the lock; programs that inherited the descriptor still hold it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


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
        if find_lease_reason(path):
            return disk_lease.read_holder(Path(path)) is not None
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
    if find_lease_reason(path):
        return disk_lease.read_holder(Path(path))
    with contextlib.suppress(StorageError):
        return parse_holder(disk.read(path) or b"")
    return None


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_out(path: Path) -> str:
    """Return the error of locking a file if its file system cannot; else an empty text."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _try_lock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return f"flock: {error.strerror}"
    finally:
        os.close(descriptor)
    return ""


def _is_elsewhere(path: Path) -> bool:
    """Return whether the holder of a lock says that it is on another machine."""
    host = (read_holder(path) or {}).get("host")
    return host not in (None, os.uname().nodename)


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
