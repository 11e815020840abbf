"""Attempts at a trial: the states that supervisors write, and whether an attempt still runs."""

from __future__ import annotations

import contextlib
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
from deepmac_ablate.safe_text import redact, visible
from deepmac_ablate.storage import disk
from deepmac_ablate.storage.strict_json import (
    COUNT,
    PID,
    TEXT,
    TIME,
    Kind,
    check_fields,
    from_json,
    one_of,
    optional,
)

# Environment variable of all processes that an attempt starts; its value is an `attempt_tag`.
TAG_VARIABLE = "DEEPMAC_ABLATE_ATTEMPT"

# Locks of another machine may not be visible here, but a live supervisor writes its state this
# often; on ``gs://`` less often.
_SECONDS_WITHOUT_HEARTBEAT = 60.0
_SECONDS_WITHOUT_REMOTE_HEARTBEAT = 120.0
# From the death of a process to the release of its locks.
_SECONDS_TO_RELEASE = 5.0
_SECONDS_BETWEEN_POLLS = 0.02

_LAUNCH_AGAIN = "launch the sweep again to write a new one"
_EXIT_CODE = Kind("an exit status", lambda value: type(value) is int and abs(value) < 2**32)
_FIELDS = {
    "role": one_of("train", "eval"), "number": COUNT,
    "state": one_of("running", "finished", "failed", "interrupted"), "host": TEXT, "pid": PID,
    "pid_started": optional(TEXT), "started": TIME, "heartbeat": TIME,
    "process_group": optional(PID), "group_started": optional(TEXT), "ended": optional(TIME),
    "exit_code": optional(_EXIT_CODE), "cause": optional(TEXT), "submission": optional(COUNT)}


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One run of a trial's command; times are Unix times in seconds.

    Attributes:
        role: "train" or "eval".
        number: Number among the attempts of this trial and role, from 1 on; part of the log's name.
        state: State as the supervisor wrote it; a killed supervisor leaves "running" behind.
        host: Name of the machine.
        pid: Process ID of the supervisor.
        pid_started: Identity of the supervisor's process, see `processes.process_identity`.
        started: Start of the attempt.
        heartbeat: Time at which the state was written.
        process_group: ID of the command's process group and first process; None before it starts.
        group_started: Identity of that process, as `pid_started`.
        ended: End of the attempt; None while it runs.
        exit_code: Exit status of the command; -n if signal n killed it.
        cause: Reason for not finishing: one sentence of at most 300 characters.
        submission: Number of the `Submission` that the attempt is part of; None outside clouds.
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
        """Write the attempt to a trial's folder, in place of the previous one.

        Raises:
            OSError: If it cannot be written; the previous state is then unchanged.
        """
        path = _state_path(folder, self.role)
        text = json.dumps(dataclasses.asdict(self), indent=2) + "\n"
        if not disk.is_remote(path):
            disk.write(path, text.encode())
            return
        # Slow imports, which supervisors on a disk do without.
        from etils import epath

        from deepmac_ablate.storage import file_io

        file_io.write(epath.Path(path), text)


def lock_path(folder: str | os.PathLike[str], role: str) -> Path:
    """Return the file that is locked while the supervisor or the command of a role lives."""
    return Path(folder, f".{role}.lock")


def log_name(folder: str | os.PathLike[str], role: str, number: int) -> str:
    """Return the log of an attempt, on a disk or on ``gs://``."""
    return f"{os.fspath(folder)}/logs/{role}-{number}.log"


def attempt_tag(folder: Path, role: str) -> str:
    """Return the value of `TAG_VARIABLE` for a trial's folder and a role."""
    return f"{folder.resolve()}:{role}"


def read_attempt(folder: str | os.PathLike[str], role: str) -> Attempt | None:
    """Return the last attempt of a role; None if there was none, or its file is broken.

    Raises:
        StorageError: If its file cannot be read.
    """
    path = _state_path(folder, role)
    text = _read_remote(path) if disk.is_remote(path) else disk.read(path)
    # The next attempt replaces a broken file; locks, logs and processes tell what it needs to know.
    with contextlib.suppress(UserError):
        return None if text is None else parse_attempt(text, path)
    return None


def state_name(role: str) -> str:
    """Return the name of the file in a trial's folder that holds the last attempt of a role."""
    return f"state-{role}.json"


def parse_attempt(text: bytes, where: str) -> Attempt:
    """Parse the content of an attempt's state file.

    Args:
        text: Content of the file.
        where: Path of the file, for messages.

    Raises:
        UserError: If the content is not a valid attempt.
    """
    fields = from_json(text, where, _LAUNCH_AGAIN)
    check_fields(fields, _FIELDS, where, _LAUNCH_AGAIN)
    if cause := fields.get("cause"):
        # Earlier versions did not.
        fields["cause"] = visible(redact(cause))
    try:
        return Attempt(**fields)
    except TypeError as error:
        raise UserError(
            f"{where} is not a valid state of an attempt ({error}); {_LAUNCH_AGAIN}.") from error


def is_running(folder: str | os.PathLike[str], attempt: Attempt) -> bool:
    """Return whether an attempt at the trial in a folder runs."""
    if attempt.state != "running":
        return False
    if disk.is_remote(folder):
        return time.time() - attempt.heartbeat < _SECONDS_WITHOUT_REMOTE_HEARTBEAT
    if attempt.host != os.uname().nodename:
        return time.time() - attempt.heartbeat < _SECONDS_WITHOUT_HEARTBEAT
    # A trainer that outlives its supervisor holds the lock, but is no longer supervised.
    return locks.is_held(lock_path(folder, attempt.role)) and (
        attempt.pid_started is None or _lives(attempt.pid, attempt.pid_started))


def stop_leftovers(folder: Path, role: str, grace: float = 30.0) -> None:
    """End processes that a dead supervisor left behind, to free the folder for the next attempt.

    Wait for a supervisor that is alive: it may have noticed that its launcher is gone, and be
    ending its trainer.

    Args:
        folder: Trial folder.
        role: "train" or "eval".
        grace: Seconds that a supervisor has to end, and leftovers before they are killed.

    Raises:
        UserError: If a supervisor does not end, or an unidentified process holds the lock.
    """
    lock = lock_path(folder, role)
    attempt = read_attempt(folder, role)
    if not lock.exists() or (attempt is not None and attempt.host != os.uname().nodename):
        # No attempt was started here, or it is on a machine whose processes cannot be reached;
        # `is_running` decides whether that one lives.
        return
    # A supervisor releases the lock a moment after the grace period of its trainer.
    if not _wait_until(lambda: not _is_supervised(folder, role), grace + _SECONDS_TO_RELEASE):
        raise UserError(f"The {role} job of {folder} is running; end its supervisor first.")
    # The supervisor may have written a new state before it ended.
    attempt = read_attempt(folder, role)

    def find_leftovers() -> set[psutil.Process]:
        found = set(processes.find_by_variable(TAG_VARIABLE, attempt_tag(folder, role)))
        if attempt is not None and _lives(attempt.process_group, attempt.group_started):
            found |= set(processes.group_members(attempt.process_group))
        return found

    processes.end_processes(find_leftovers, grace)
    if not _wait_until(lambda: not locks.is_held(lock), _SECONDS_TO_RELEASE):
        raise UserError(f"An unknown process holds {lock}; find it with `fuser {lock}` and end it.")


def _state_path(folder: str | os.PathLike[str], role: str) -> str:
    return f"{os.fspath(folder)}/{state_name(role)}"


def _read_remote(path: str) -> bytes | None:
    from deepmac_ablate.storage import file_io

    return file_io.read(path)


def _is_supervised(folder: Path, role: str) -> bool:
    """Return whether a supervisor lives on this machine, even if it could not write its state."""
    holder = locks.read_holder(lock_path(folder, role)) or {}
    if _lives(holder.get("pid"), holder.get("process_started")):
        return True
    attempt = read_attempt(folder, role)
    return attempt is not None and is_running(folder, attempt)


def _lives(pid: int | None, started: str | None) -> bool:
    """Return whether a process with this ID and identity lives; False if either is unknown."""
    return pid is not None and started is not None and processes.process_identity(pid) == started


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; return whether it did in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_SECONDS_BETWEEN_POLLS)
    return True
