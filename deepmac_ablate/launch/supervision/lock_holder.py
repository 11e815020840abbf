"""Holders of locks: their description, and the message for other processes."""

from __future__ import annotations

import abc
import contextlib
import os
import pwd
import time
from collections.abc import Mapping
from typing import Any

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import processes
from deepmac_ablate.storage.strict_json import PID, TEXT, TIME, check_fields, from_json, optional

# Seconds without renewal after which a lock that is renewed expires, and between two renewals.
TTL = 90.0
RENEWAL = 15.0

_FIELDS = {
    "what": optional(TEXT), "host": optional(TEXT), "pid": optional(PID), "user": optional(TEXT),
    "process_started": optional(TEXT), "started": optional(TIME), "path": optional(TEXT)}


class Lock(contextlib.AbstractContextManager):
    """Acquired lock, held until `release` or the end of the context."""

    @abc.abstractmethod
    def release(self) -> None:
        """Release the lock; a second call does nothing."""

    def __exit__(self, *_: object) -> None:
        self.release()


class LockHeldError(UserError):
    """Another process holds the lock.

    Attributes:
        can_expire: Whether the lock is a lease, which outlives a holder that has died.
    """

    can_expire = False


def describe_this_process(kind: str) -> dict[str, Any]:
    """Describe this process as the holder of a lock.

    Args:
        kind: Kind of process, such as "a launcher".

    Returns:
        `what` (the kind), host, pid, user, `process_started` (see `processes.process_identity`)
        and started, the current Unix time in seconds.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # Containers run as users that have no name.
        user = str(os.getuid())
    return {
        "what": kind, "host": os.uname().nodename, "pid": os.getpid(), "user": user,
        "process_started": processes.process_identity(os.getpid()), "started": time.time(),
    }


def parse_holder(text: bytes) -> dict[str, Any] | None:
    """Return the description of a holder as JSON; None if it is illegible."""
    with contextlib.suppress(UserError):
        holder = from_json(text, "The lock", any_bytes=True)
        check_fields(holder, _FIELDS, "The lock")
        return holder
    return None


def in_use_message(path: str | os.PathLike[str], holder: Mapping[str, Any] | None) -> str:
    """Return a sentence, without its period, that says which process uses the folder of a lock.

    Args:
        path: Lock file or object.
        holder: Description of the holder; None if it is illegible.
    """
    folder, _, name = os.fspath(path).rpartition("/")
    if holder is None:
        return f"{folder or '.'} is in use by another process, which holds {name}"
    kind, host = holder.get("what", "a launcher"), holder.get("host", "an unknown host")
    pid, user = holder.get("pid", "unknown"), holder.get("user", "unknown")
    started = holder.get("started")
    age = ""
    if isinstance(started, int | float):
        age = f", started {format_duration(time.time() - started)} ago"
    return f"{folder or '.'} is in use by {kind} on {host} (pid {pid} of user {user}{age})"


def format_duration(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least one, such as "3 h"."""
    seconds = max(0, seconds)
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"
