"""Find and end processes on this machine.

Process IDs are reused, so a process is identified by its start time or by an environment variable
before it is ended.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

_SECONDS_BETWEEN_POLLS = 0.02
_SECONDS_TO_DIE = 5.0


def process_identity(pid: int) -> str | None:
    """Return a text that identifies a process even if its ID is reused on this machine.

    The text does not depend on the wall clock, which may be set while the process runs.

    Args:
        pid: Process ID.

    Returns:
        Boot ID and clock ticks from boot to the start of the process; None if the process does not
        exist or is a zombie.
    """
    with contextlib.suppress(psutil.Error):
        return f"{_boot_id()}/{_ticks_since_boot(pid)}" if _living(pid) else None
    return None


def group_members(group: int) -> list[psutil.Process]:
    """Return the living processes of a process group."""
    pids = [pid for pid in psutil.pids() if _group(pid) == group]
    return [process for pid in pids if (process := _living(pid))]


def find_by_variable(name: str, value: str) -> list[psutil.Process]:
    """Return the living processes started with an environment variable, except this process."""
    pids = [pid for pid in psutil.pids() if pid != os.getpid()]
    return [process for pid in pids
            if (process := _living(pid)) and _environment(process).get(name) == value]


def end_processes(find_remaining: Callable[[], Iterable[psutil.Process]], grace: float) -> None:
    """Send SIGTERM to processes, and SIGKILL to those that remain after a grace period.

    Args:
        find_remaining: Returns the remaining processes, including those started meanwhile.
        grace: Seconds between SIGTERM and SIGKILL.
    """
    for process in find_remaining():
        _signal(process.terminate)
    kill_at = time.monotonic() + grace
    while left := find_remaining():
        if time.monotonic() >= kill_at + _SECONDS_TO_DIE:
            # Blocked in the kernel, for example by a broken disk.
            return
        if time.monotonic() >= kill_at:
            for process in left:
                _signal(process.kill)
        time.sleep(_SECONDS_BETWEEN_POLLS)


def _signal(send: Callable[[], None]) -> None:
    # The process may have ended, or it belongs to another user.
    with contextlib.suppress(psutil.Error):
        send()


def _living(pid: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    return None


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _environment(process: psutil.Process) -> dict[str, str]:
    """Return the environment of a process; empty if it has ended or belongs to another user."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def _ticks_since_boot(pid: int) -> int:
    # psutil adds the time of boot, which changes with the clock: read until both agree.
    boot, after = None, psutil.boot_time()
    while boot != after:
        boot = after
        started = psutil.Process(pid).create_time()
        after = psutil.boot_time()
    return round((started - boot) * os.sysconf("SC_CLK_TCK"))


@functools.cache
def _boot_id() -> str:
    """Return the random ID that Linux draws at boot, which psutil does not provide."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
