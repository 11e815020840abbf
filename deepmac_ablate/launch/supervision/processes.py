"""Find and end processes of this machine.

Process IDs are reused, so a process is recognized by its start or by a variable in its environment
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
    """Return a text that no other process with this ID ever has on this machine.

    It does not depend on the clock, which may be set while the process runs.

    Args:
        pid: The process ID.

    Returns:
        The boot ID and the clock ticks from boot to the start of the process; None if there is no
        such process or only a zombie.
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


def end_processes(find: Callable[[], Iterable[psutil.Process]], grace: float) -> None:
    """Send SIGTERM to processes, and SIGKILL to those that are left after a while.

    Args:
        find: Returns the processes that are left, including those that they started meanwhile.
        grace: Seconds between SIGTERM and SIGKILL.
    """
    for process in find():
        _signal(process.terminate)
    kill_at = time.monotonic() + grace
    while left := find():
        if time.monotonic() >= kill_at + _SECONDS_TO_DIE:
            # Blocked in the kernel, for example by a broken disk.
            return
        if time.monotonic() >= kill_at:
            for process in left:
                _signal(process.kill)
        time.sleep(_SECONDS_BETWEEN_POLLS)


def _signal(send: Callable[[], None]) -> None:
    # The process has ended, its ID is another process's by now, or it is another user's.
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
    """Return the variables of a process; none if it has ended or is another user's."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def _ticks_since_boot(pid: int) -> int:
    # psutil adds the time of boot, which changes with the clock: both must be of the same reading.
    boot, after = None, psutil.boot_time()
    while boot != after:
        boot = after
        started = psutil.Process(pid).create_time()
        after = psutil.boot_time()
    return round((started - boot) * os.sysconf("SC_CLK_TCK"))


@functools.cache
def _boot_id() -> str:
    """Return Linux's random ID of the time since boot, which psutil does not have."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
