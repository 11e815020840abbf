"""Attempts at a trial: the states that its supervisors wrote, and whether they still live."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import locks, processes
from deepmac_ablate.storage import disk
from deepmac_ablate.storage.strict_json import from_json

# In the environment of all that an attempt starts: the trial's folder and the role.
VARIABLE = "DEEPMAC_ABLATE_ATTEMPT"

# Locks of another machine may not be seen here; a supervisor there writes its state this often.
_SECONDS_WITHOUT_HEARTBEAT = 60.0
# On ``gs://`` it does so less often.
_SECONDS_WITHOUT_REMOTE_HEARTBEAT = 120.0
# From the death of a process to the release of its locks.
_SECONDS_TO_RELEASE = 5.0
_SECONDS_BETWEEN_LOOKS = 0.02


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One run of a trial's command; times are Unix times in seconds.

    Attributes:
        role: "train" or "eval".
        number: From 1 on, of the trial and the role; names the log.
        state: As its supervisor wrote it; a killed supervisor leaves "running" behind.
        host: The machine.
        pid: The supervisor's number.
        pid_started: Tells it from others that had the number, see `processes.process_identity`.
        started: When the attempt was.
        heartbeat: When the state was written.
        process_group: The number of the command's process group and first process; None before it
            is started.
        group_started: As `pid_started`, of that process.
        ended: When it did; None while running.
        exit_code: The command's exit status; -n where signal n killed it.
        cause: Why it has not finished: one sentence of at most 300 characters.
        submission: The number of the `Submission` that it is part of, in a cloud; else None.
    """

    role: str
    number: int
    state: Literal["running", "finished", "failed", "interrupted"]
    host: str
    pid: int
    pid_started: str | None
    started: float
    heartbeat: float
    process_group: int | None = None
    group_started: str | None = None
    ended: float | None = None
    exit_code: int | None = None
    cause: str | None = None
    submission: int | None = None

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the attempt to a trial's folder, in place of the one before.

        Raises:
            OSError: If it cannot be written; what was there before is then still there.
        """
        path = _state_path(folder, self.role)
        text = json.dumps(dataclasses.asdict(self), indent=2) + "\n"
        if not disk.is_remote(path):
            disk.write(path, text.encode())
            return
        # Supervisors on a disk do without what this imports.
        from etils import epath

        from deepmac_ablate import storage

        storage.write(epath.Path(path), text)


def lock_path(folder: str | os.PathLike[str], role: str) -> Path:
    """Return the file that is locked while the supervisor or the command of a role lives."""
    return Path(folder, f".{role}.lock")


def log_name(folder: str | os.PathLike[str], role: str, number: int) -> str:
    """Return where the command's output of an attempt goes, on a disk or on ``gs://``."""
    return f"{os.fspath(folder)}/logs/{role}-{number}.log"


def log_path(folder: Path, role: str, number: int) -> Path:
    """Return where the command's output of an attempt goes, on a disk."""
    return Path(log_name(folder, role, number))


def mark(folder: Path, role: str) -> str:
    """Return the value of `VARIABLE` for a trial's role."""
    return f"{folder.resolve()}:{role}"


def read(folder: str | os.PathLike[str], role: str) -> Attempt | None:
    """Return the last attempt of a role, or None where there was none.

    Raises:
        UserError: If its file is broken.
    """
    path = _state_path(folder, role)
    text = _read_remote(path) if disk.is_remote(path) else disk.read(path)
    return None if text is None else parse(text, path)


def state_name(role: str) -> str:
    """Return the name of the file in a trial's folder that holds the last attempt of a role."""
    return f"state-{role}.json"


def parse(text: bytes, where: str) -> Attempt:
    """Return the attempt that is written in a file.

    Raises:
        UserError: If it is none; it names `where` it was read.
    """
    try:
        return Attempt(**from_json(text, where))
    except TypeError as error:
        raise UserError(f"{where} is no state of an attempt ({error}); delete it.") from error


def is_running(folder: str | os.PathLike[str], attempt: Attempt) -> bool:
    """Whether an attempt at the trial in a folder runs."""
    if attempt.state != "running":
        return False
    if disk.is_remote(folder):
        return time.time() - attempt.heartbeat < _SECONDS_WITHOUT_REMOTE_HEARTBEAT
    if attempt.host != os.uname().nodename:
        return time.time() - attempt.heartbeat < _SECONDS_WITHOUT_HEARTBEAT
    # A trainer that outlives its supervisor holds the lock, but nobody watches it any more.
    return locks.is_held(lock_path(folder, attempt.role)) and (
        attempt.pid_started is None or _lives(attempt.pid, attempt.pid_started))


def stop_leftovers(folder: Path, role: str, grace: float = 30.0) -> None:
    """End what a dead supervisor left running, so that the next attempt has the folder alone.

    A supervisor that lives is waited for: it may have noticed by now that its launcher is gone, and
    be ending its trainer.

    Args:
        folder: The trial's.
        role: "train" or "eval".
        grace: Seconds that a supervisor has to end, and leftovers before they are killed.

    Raises:
        UserError: If a supervisor goes on, or if something that cannot be found holds the lock.
    """
    lock = lock_path(folder, role)
    attempt = read(folder, role)
    if not lock.exists() or (attempt is not None and attempt.host != os.uname().nodename):
        # Nothing was started here, or on a machine whose processes cannot be reached; whether
        # that one lives, `is_running` knows.
        return
    # It frees the lock a moment after its trainer's time is over.
    if not _wait_for(lambda: not _is_supervised(folder, role), grace + _SECONDS_TO_RELEASE):
        raise UserError(f"The {role} job of {folder} is running; end its supervisor first.")
    # What it wrote last.
    attempt = read(folder, role)

    def leftovers() -> set[psutil.Process]:
        found = set(processes.find_by_variable(VARIABLE, mark(folder, role)))
        if attempt is not None and _lives(attempt.process_group, attempt.group_started):
            found |= set(processes.group_members(attempt.process_group))
        return found

    processes.end_processes(leftovers, grace)
    if not _wait_for(lambda: not locks.is_held(lock), _SECONDS_TO_RELEASE):
        raise UserError(f"An unknown process holds {lock}; find it with `fuser {lock}` and end it.")


def _state_path(folder: str | os.PathLike[str], role: str) -> str:
    return f"{os.fspath(folder)}/{state_name(role)}"


def _read_remote(path: str) -> bytes | None:
    from deepmac_ablate import storage

    return storage.read(path)


def _is_supervised(folder: Path, role: str) -> bool:
    """Whether a supervisor lives on this machine; it may not have been able to write its state."""
    holder = locks.holder(lock_path(folder, role)) or {}
    if _lives(holder.get("pid"), holder.get("process_started")):
        return True
    attempt = read(folder, role)
    return attempt is not None and is_running(folder, attempt)


def _lives(pid: int | None, started: str | None) -> bool:
    """Whether the very process lives that had this number; False where that cannot be told."""
    return pid is not None and started is not None and processes.process_identity(pid) == started


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; returns whether it does in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True
