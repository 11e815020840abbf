"""Locks on files, and on ``gs://`` on objects, see `remote_lease`.

On a disk the kernel releases them when their holder dies, however it dies. Such a lock is on the
file itself, so that it is never replaced and never deleted.
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
from deepmac_ablate.launch.supervision import lock_holder
from deepmac_ablate.launch.supervision.lock_holder import Taken, this_process
from deepmac_ablate.storage import disk

if TYPE_CHECKING:
    from deepmac_ablate.launch.supervision.gcs_lock import RemoteLease

__all__ = ["Lease", "Taken", "acquire", "holder", "is_held", "this_process"]

# Who only looks whether a lock is held has it, shared, for some microseconds.
_SECONDS_OF_TRIES = 1.0
_SECONDS_BETWEEN_TRIES = 0.02


def acquire(
    path: str | os.PathLike[str], holder: Mapping[str, Any], patience: float = 0.0
) -> Lease | RemoteLease:
    """Take a lock, on a disk or on ``gs://``, or say who has it.

    Args:
        path: On a disk in a folder that exists.
        holder: As that of `Lease.acquire`.
        patience: Seconds to wait on ``gs://`` for a holder that gives no sign of life; see there.

    Raises:
        Taken: If another process holds it.
        UserError: If it cannot be taken for another reason.
    """
    if not disk.is_remote(path):
        return Lease.acquire(Path(path), holder)
    # A second of imports, which supervisors on a disk can do without.
    from deepmac_ablate.launch.supervision.gcs_lock import RemoteLease

    return RemoteLease.acquire(os.fspath(path), holder, patience)


class Lease:
    """A lock that is held until `release`, the end of the context, or this process's death.

    Programs started by this process do not inherit it, unless `descriptor` is passed to them: then
    it is held as long as any of them lives.

    Attributes:
        path: The file.
        descriptor: The open file's number.
        lost: Whether somebody else may have it; on a disk, nobody can take it away.
    """

    lost = False

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path, holder: Mapping[str, Any]) -> Lease:
        """Take a lock, or say who has it.

        Args:
            path: In a folder that exists; the file is made where there is none.
            holder: Written to the file for others to read, such as `this_process`.

        Raises:
            Taken: If another process holds it.
            UserError: If the file cannot be opened.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"Cannot open the lock {path}: {error}.") from error
        deadline = time.monotonic() + _SECONDS_OF_TRIES
        while not _try(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise Taken(_who_has(path))
            time.sleep(_SECONDS_BETWEEN_TRIES)
        # What is written only tells people; on a full disk the lock holds without it.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(dict(holder)).encode() + b"\n", 0)
        return cls(path, descriptor)

    def release(self) -> None:
        """Let others have it, once the programs that inherited it are gone too."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def is_held(path: str | os.PathLike[str]) -> bool:
    """Whether some process, maybe this one, holds the lock; False where there is no file."""
    if disk.is_remote(path):
        return _held_remotely(path) is not None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Closing the file gives back what was taken.
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def holder(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return what the holder wrote; None where nobody holds the lock, or nothing is legible."""
    if disk.is_remote(path):
        return _held_remotely(path) or None
    if not is_held(path):
        return None
    try:
        written = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return None
    return written if isinstance(written, dict) else None


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _held_remotely(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return what the holder of a lock on ``gs://`` wrote; None where nobody holds it."""
    from deepmac_ablate.launch.supervision import gcs_lock

    return gcs_lock.holder(os.fspath(path))


def _who_has(path: Path) -> str:
    there = holder(path)
    end = "" if there is None else f" or end it there with `kill {there.get('pid', 'unknown')}`"
    return f"{lock_holder.in_use(path, there)}; wait for it{end}."
