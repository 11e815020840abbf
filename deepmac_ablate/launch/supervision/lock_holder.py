"""Who holds a lock, in the words that others are told."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping
from typing import Any

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import processes


class Taken(UserError):  # noqa: N818 - a state, not a fault
    """Another process holds the lock."""


def this_process(what: str) -> dict[str, Any]:
    """Describe this process as the holder of a lock.

    Args:
        what: Such as "a launcher".

    Returns:
        `what`, host, pid, user, `process_started` (see `processes.process_identity`) and started,
        the Unix time of now.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # Containers run as users that have no name.
        user = str(os.getuid())
    return {
        "what": what, "host": os.uname().nodename, "pid": os.getpid(), "user": user,
        "process_started": processes.process_identity(os.getpid()), "started": time.time(),
    }


def in_use(path: str | os.PathLike[str], holder: Mapping[str, Any] | None) -> str:
    """Return that the folder of a lock is in use, and by whom.

    Args:
        path: The lock's.
        holder: What its holder wrote; None where that is not legible.
    """
    folder, _, name = os.fspath(path).rpartition("/")
    if holder is None:
        return f"{folder or '.'} is in use by another process, which holds {name}"
    what, host = holder.get("what", "a launcher"), holder.get("host", "an unknown host")
    pid, user = holder.get("pid", "unknown"), holder.get("user", "unknown")
    started = holder.get("started")
    age = ""
    if isinstance(started, int | float):
        age = f", started {duration(time.time() - started)} ago"
    return f"{folder or '.'} is in use by {what} on {host} (pid {pid} of user {user}{age})"


def duration(seconds: float) -> str:
    """Return a time in the largest unit of which there is at least one."""
    seconds = max(0, seconds)
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"
