"""Storage of a running attempt: its state, its log and its lock.

A supervisor knows its trial's folder only by an `AttemptStore`. The stores here are for disks; see
`gcs_attempt_store` for ``gs://``.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import attempt, locks
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.supervision.watchdog import Snapshot, snapshot_files

# Tries to write the last state on a full disk.
_FINAL_WRITES = 3


class AttemptStore(Protocol):
    """Storage of one attempt.

    Attributes:
        number: Number of the attempt, from 1 on.
        log: File on this machine that the command's output is appended to.
        descriptors: Open file descriptors that the command inherits, such as that of a lock.
        environment: Environment variables by which the command's processes are found.
    """

    number: int
    log: Path
    descriptors: Sequence[int]
    environment: Mapping[str, str]

    def write(self, state: Attempt) -> None:
        """Write a state, now or soon; a failure is made good by the next write."""

    def finish(self, final: Attempt, hurried: bool) -> None:
        """Write the final state, with several tries if necessary.

        Args:
            final: Final state.
            hurried: True if this process was asked to stop and has only seconds left.
        """

    def is_lost(self) -> bool:
        """Return whether another process has the trial, so that nothing may be written any more."""

    def take_snapshot(self) -> Snapshot:
        """Return the state of the files that change while the command works."""

    def read_companion(self, role: str) -> Attempt | None:
        """Return the last attempt of another role; None if there is none or it is unknown."""


class LocalAttemptStore:
    """Attempt store in a trial folder on a disk, see `AttemptStore`.

    Args:
        folder: Trial folder.
        role: "train" or "eval".
        lock: Lock of the role, which the command inherits, if it can, and holds while it lives.
        heartbeat: Seconds between two tries to write the final state.

    Raises:
        UserError: If the state file of the previous attempt is broken.
    """

    def __init__(
        self, folder: Path, role: str, lock: locks.FileLock | locks.DiskLease, heartbeat: float
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._heartbeat = heartbeat
        logs = (path.name for path in (folder / "logs").glob(f"{role}-*.log"))
        self.number = next_attempt_number(attempt.read_attempt(folder, role), logs)
        self.log = Path(attempt.log_name(folder, role, self.number))
        self.descriptors = lock.descriptors
        self.environment = {attempt.TAG_VARIABLE: attempt.attempt_tag(folder, role)}
        # Left by supervisors that were killed while writing.
        for path in folder.glob(f".{attempt.state_name(role)}.*.tmp"):
            path.unlink(missing_ok=True)

    def write(self, state: Attempt) -> None:
        """Write a state, unless the disk is full."""
        self._try_to_write(state)

    def finish(self, final: Attempt, hurried: bool) -> None:
        """Write the final state; that takes a moment, `hurried` or not."""
        for _ in range(_FINAL_WRITES):
            if self._try_to_write(final):
                return
            time.sleep(self._heartbeat)

    def is_lost(self) -> bool:
        """Return whether the lock was a lease that has expired; the kernel keeps others."""
        return self._lock.taken_over

    def take_snapshot(self) -> Snapshot:
        """Return the state of the log and of the trial's files."""
        return snapshot_files(self._folder, self.log)

    def read_companion(self, role: str) -> Attempt | None:
        """Return the last attempt of another role."""
        with contextlib.suppress(OSError, UserError):
            return attempt.read_attempt(self._folder, role)
        return None

    def _try_to_write(self, state: Attempt) -> bool:
        try:
            state.write(self._folder)
        except OSError:
            return False
        return True


class NullAttemptStore:
    """Attempt store that keeps nothing, for all machines of a job but its chief.

    Args:
        log: File on this machine that the command's output is appended to.
    """

    def __init__(self, log: Path) -> None:
        self.number = 1
        self.log = log
        self.descriptors: Sequence[int] = ()
        self.environment: Mapping[str, str] = {}

    def write(self, state: Attempt) -> None:
        """Do nothing."""

    def finish(self, final: Attempt, hurried: bool) -> None:
        """Do nothing."""

    def is_lost(self) -> bool:
        """Return False: this machine writes nothing."""
        return False

    def take_snapshot(self) -> Snapshot:
        """Return an empty snapshot."""
        return []

    def read_companion(self, role: str) -> Attempt | None:
        """Return None."""
        return None


def next_attempt_number(last: Attempt | None, logs: Iterable[str]) -> int:
    """Return the number of a new attempt; an earlier one may have left its state or only a log.

    Args:
        last: Last attempt of the role.
        logs: File names of the role's logs.
    """
    numbers = [last.number if last else 0]
    for name in logs:
        if match := re.fullmatch(r".*-([0-9]+)\.log", name):
            numbers.append(int(match[1]))
    return max(numbers) + 1
