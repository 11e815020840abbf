"""Locks on files. The kernel releases them when their holder dies, however it dies.

A lock is on the file itself, so such a file is never replaced and never deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import processes

# Who only looks whether a lock is held has it, shared, for some microseconds.
_SECONDS_OF_TRIES = 1.0
_SECONDS_BETWEEN_TRIES = 0.02


class Taken(UserError):  # noqa: N818 - a state, not a fault
    """Another process holds the lock."""


class Lease:
    """A lock that is held until `release`, the end of the context, or this process's death.

    Programs started by this process do not inherit it, unless `descriptor` is passed to them: then
    it is held as long as any of them lives.

    Attributes:
        path: The file.
        descriptor: The open file's number.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path, holder: Mapping[str, Any]) -> Lease:
        """Takes a lock, or says who has it.

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
        """Lets others have it, once the programs that inherited it are gone too."""
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
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Closing the file gives back what was taken.
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def holder(path: Path) -> dict[str, Any] | None:
    """Returns what the holder wrote; None where nobody holds the lock, or nothing is legible."""
    if not is_held(path):
        return None
    try:
        written = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return written if isinstance(written, dict) else None


def this_process(what: str) -> dict[str, Any]:
    """Describes this process as the holder of a lock.

    Args:
        what: Such as "a launcher".

    Returns:
        `what`, host, pid, user, `process_started` (see `processes.start_of`) and started, the Unix
        time of now.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # Containers run as users that have no name.
        user = str(os.getuid())
    return {
        "what": what, "host": os.uname().nodename, "pid": os.getpid(), "user": user,
        "process_started": processes.start_of(os.getpid()), "started": time.time(),
    }


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _who_has(path: Path) -> str:
    there = holder(path)
    if there is None:
        return f"{path.parent} is in use by another process, which holds {path.name}; wait for it."
    what, host = there.get("what", "a launcher"), there.get("host", "an unknown host")
    pid, user = there.get("pid", "unknown"), there.get("user", "unknown")
    started = there.get("started")
    age = f", started {_age(started)} ago" if isinstance(started, int | float) else ""
    return (
        f"{path.parent} is in use by {what} on {host} (pid {pid} of user {user}{age}); wait for it "
        f"or end it there with `kill {pid}`.")


def _age(since: float) -> str:
    """Returns the time since then in the largest unit of which there is at least one."""
    seconds = max(0, time.time() - since)
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"
