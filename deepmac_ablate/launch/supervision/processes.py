"""Which processes are there, as ``/proc`` tells; where there is none, none is found.

A number alone does not say which process it was: numbers are used again. What is killed here was
recognised by when it started or by a variable in its environment.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_SECONDS_BETWEEN_LOOKS = 0.02
_SECONDS_TO_DIE = 5.0


def start_of(pid: int) -> str | None:
    """Returns what tells a process from all others that ever had its number on this machine.

    Args:
        pid: Its number.

    Returns:
        The machine's start-up and the clock ticks from then to the process's start; None where
        there is no such process, or only what is left of it until its parent asks.
    """
    fields = _stat(pid)
    return f"{_boot_id()}/{fields[19]}" if fields and fields[0] != "Z" else None


def members(group: int) -> list[int]:
    """Returns the living processes of a process group."""
    number = str(group)
    return [
        pid for pid in _all()
        if (fields := _stat(pid)) and fields[2] == number and fields[0] != "Z"
    ]


def carrying(name: str, value: str) -> list[int]:
    """Returns the living processes that were started with a variable, but never this process."""
    wanted = os.fsencode(f"{name}={value}")
    return [pid for pid in _all() if pid != os.getpid() and wanted in _environment(pid)]


def end(find: Callable[[], Iterable[int]], grace: float) -> None:
    """Asks processes to end, and kills those that have not after a while.

    Args:
        find: Returns the processes that are still there; what they start meanwhile is killed too.
        grace: Seconds between SIGTERM and SIGKILL.
    """
    _send(signal.SIGTERM, find())
    kill_at = time.monotonic() + grace
    while there := find():
        if time.monotonic() >= kill_at + _SECONDS_TO_DIE:
            # Held up in the kernel, by a broken disk for instance.
            return
        if time.monotonic() >= kill_at:
            _send(signal.SIGKILL, there)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _send(signum: int, pids: Iterable[int]) -> None:
    for pid in pids:
        # Gone in the meantime, or another user's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def _all() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except FileNotFoundError:
        return []


def _stat(pid: int) -> list[str] | None:
    """Returns the fields of /proc/PID/stat from the third on: state, parent, group, ..."""
    # The second field is the program's name in brackets, in which anything may stand.
    text = _read(f"/proc/{pid}/stat")
    return os.fsdecode(text).rpartition(")")[2].split() if text else None


def _environment(pid: int) -> list[bytes]:
    return _read(f"/proc/{pid}/environ").split(b"\0")


@functools.cache
def _boot_id() -> str:
    return os.fsdecode(_read("/proc/sys/kernel/random/boot_id")).strip()


def _read(path: str) -> bytes:
    """Returns what is in a file; nothing where the process has gone or is another user's."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
