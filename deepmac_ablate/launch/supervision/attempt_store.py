"""What an attempt leaves behind while it runs, and where: its state, its log, its lock.

A supervisor writes notes and asks nothing else of the place that they go to. Here that is a disk;
see `remote_notes` for ``gs://``.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import attempt, locks, watchdog
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.supervision.watchdog import Look

# On a full disk the last state is worth some tries.
_LAST_WRITES = 3


class Notes(Protocol):
    """Where an attempt is noted.

    Attributes:
        number: The attempt's, from 1 on.
        log: The file on this machine that the command's output is appended to.
        descriptors: Open files that the command inherits, as that of a lock.
        environment: Variables by which the command is known.
    """

    number: int
    log: Path
    descriptors: Sequence[int]
    environment: Mapping[str, str]

    def write(self, state: Attempt) -> None:
        """Write a state, or see to it; where that fails, the next one makes it good."""

    def end(self, last: Attempt, hurried: bool) -> None:
        """Write the last state, after several tries if need be.

        Args:
            last: The state.
            hurried: Whether this process was asked to end, and has seconds left.
        """

    def lost(self) -> bool:
        """Whether somebody else has the trial by now, so that nothing may be written any more."""

    def look(self) -> Look:
        """Return what changes while the command does anything."""

    def companion(self, role: str) -> Attempt | None:
        """Return the last attempt of another role; None where there is none, or nobody answers."""


class DiskNotes:
    """Notes in a trial's folder on a disk, see `Notes`.

    Args:
        folder: The trial's.
        role: "train" or "eval".
        lock: That of the role, which keeps others out as long as the command lives.
        heartbeat: Seconds between two tries to write the last state.

    Raises:
        UserError: If the file of the attempt before is broken.
    """

    def __init__(self, folder: Path, role: str, lock: locks.Lease, heartbeat: float) -> None:
        self._folder = folder
        self._heartbeat = heartbeat
        logs = (path.name for path in (folder / "logs").glob(f"{role}-*.log"))
        self.number = next_number(attempt.read(folder, role), logs)
        self.log = attempt.log_path(folder, role, self.number)
        self.descriptors = (lock.descriptor,)
        self.environment = {attempt.VARIABLE: attempt.mark(folder, role)}
        # What killed supervisors had not finished writing.
        for path in folder.glob(f".{attempt.state_name(role)}.*.tmp"):
            path.unlink(missing_ok=True)

    def write(self, state: Attempt) -> None:
        """Write a state, unless the disk is full."""
        self._try_to_write(state)

    def end(self, last: Attempt, hurried: bool) -> None:
        """Write the last state; `hurried` or not, that takes a moment."""
        for _ in range(_LAST_WRITES):
            if self._try_to_write(last):
                return
            time.sleep(self._heartbeat)

    def lost(self) -> bool:
        """Nobody can take a lock away that the kernel keeps."""
        return False

    def look(self) -> Look:
        """Return the state of the log and of the trial's files."""
        return watchdog.look(self._folder, self.log)

    def companion(self, role: str) -> Attempt | None:
        """Return the last attempt of another role."""
        with contextlib.suppress(OSError, UserError):
            return attempt.read(self._folder, role)
        return None

    def _try_to_write(self, state: Attempt) -> bool:
        try:
            state.write(self._folder)
        except OSError:
            return False
        return True


class NoNotes:
    """Notes that nobody takes, see `Notes`: another machine of the job writes for all of them.

    Args:
        log: Where the command's output goes on this machine.
    """

    def __init__(self, log: Path) -> None:
        self.number = 1
        self.log = log
        self.descriptors: Sequence[int] = ()
        self.environment: Mapping[str, str] = {}

    def write(self, state: Attempt) -> None:
        """Do nothing."""

    def end(self, last: Attempt, hurried: bool) -> None:
        """Do nothing."""

    def lost(self) -> bool:
        """What was not taken is not lost."""
        return False

    def look(self) -> Look:
        """Sees nothing."""
        return []

    def companion(self, role: str) -> Attempt | None:
        """Knows of none."""
        return None


def next_number(last: Attempt | None, logs: Iterable[str]) -> int:
    """Return the number of a new attempt; an earlier one may have left its state or only a log.

    Args:
        last: The last attempt of the role.
        logs: The names of the role's logs.
    """
    numbers = [last.number if last else 0]
    for name in logs:
        if match := re.fullmatch(r".*-([0-9]+)\.log", name):
            numbers.append(int(match[1]))
    return max(numbers) + 1
