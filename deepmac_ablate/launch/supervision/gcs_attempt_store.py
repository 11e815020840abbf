"""Notes of an attempt on ``gs://``, which a thread sends: no trainer waits for the network.

::

    logs/train-3.log     every 15 s while it changes, whole: an object cannot be appended to
    state-train.json     every 15 s, after the log
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.supervision.attempt_store import next_number
from deepmac_ablate.launch.supervision.signals import Bell
from deepmac_ablate.launch.supervision.watchdog import Look

if TYPE_CHECKING:
    from deepmac_ablate.launch.supervision.gcs_lock import RemoteLease

HEARTBEAT = 15.0

# How long the last log and state are worth trying for, where nothing hurries.
_SECONDS_TO_END = 300.0
_SECONDS_BETWEEN_TRIES = 1.0
_SECONDS_BETWEEN_LOOKS = 0.1
# A trainer prints more often; other files are looked at only where it does not.
_SECONDS_OF_SILENCE = 60.0
# TensorFlow writes the last one at every checkpoint.
_FILES = ("metrics.jsonl", "evaluations.jsonl", "checkpoints/checkpoint")
# Of a log. The machine's own logs have all of it.
_MOST_BYTES = 4 << 20


class RemoteNotes:
    """Notes in a trial's folder on ``gs://``, see `Notes`.

    Args:
        folder: The trial's.
        role: "train" or "eval".
        lease: That of the role.
        scratch: A folder on this machine for the log.
        bell: Tells that this process shall end, so that the last state may take seconds only.
        seconds_to_end: How many.

    Raises:
        UserError: If the file of the attempt before is broken, or cannot be had.
    """

    def __init__(
        self, folder: epath.Path, role: str, lease: RemoteLease, scratch: Path, bell: Bell,
        seconds_to_end: float,
    ) -> None:
        self._folder = folder
        self._lease = lease
        self._bell = bell
        self._seconds_to_end = seconds_to_end
        logs = (path.name for path in (folder / "logs").glob(f"{role}-*.log"))
        self.number = next_number(attempt.read(folder, role), logs)
        self.log = scratch / f"{role}-{self.number}.log"
        self.descriptors: Sequence[int] = ()
        self.environment: Mapping[str, str] = {}
        self._log_there = folder / "logs" / self.log.name
        self._state: Attempt | None = None
        self._sent_size = 0
        self._log_changed = time.monotonic()
        self._files: Look = []
        self._companions: dict[str, Attempt | None] = {}
        self._wake = threading.Event()
        self._ends = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._send, name="notes", daemon=True).start()

    def write(self, state: Attempt) -> None:
        """Has a state sent, and the log before it."""
        self._state = state
        self._wake.set()

    def end(self, last: Attempt, hurried: bool) -> None:
        """Send the end of the log and then the last state, again and again if need be."""
        self._ends.set()
        self.write(last)
        seconds = self._seconds_to_end if hurried else _SECONDS_TO_END
        deadline = time.monotonic() + seconds
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            if not hurried and self._bell.asked_by is not None:
                hurried = True
                deadline = min(deadline, time.monotonic() + self._seconds_to_end)
            if self.lost() or time.monotonic() >= deadline:
                return

    def lost(self) -> bool:
        """Whether another one has taken the trial over, while nothing was heard from here.

        As long as nobody has, a trainer may train on without the network. Without it, it could not
        even get into another one's way.
        """
        return self._lease.taken_over

    def look(self) -> Look:
        """Return the state of the log and, where that is silent, of the trial's other files."""
        return [*self._look_at_log(), *self._files]

    def companion(self, role: str) -> Attempt | None:
        """Return what was heard last of another role; the first time, nothing."""
        return self._companions.setdefault(role, None)

    def _send(self) -> None:
        while not self._ended.is_set():
            self._wake.wait()
            self._wake.clear()
            last = self._ends.is_set()
            steps = [self._send_log, self._send_state]
            if not last:
                steps += [self._look_at_files, self._read_companions]
            # All of them are tried, whatever becomes of the ones before.
            failures = sum(not _succeeds(step) for step in steps)
            if last and not failures:
                self._ended.set()
            elif last:
                time.sleep(_SECONDS_BETWEEN_TRIES)
                self._wake.set()

    def _send_log(self) -> None:
        size = self.log.stat().st_size if self.log.exists() else 0
        if size != self._sent_size and not self.lost():
            self._log_changed = time.monotonic()
            storage.write(self._log_there, end_of(self.log))
            self._sent_size = size

    def _send_state(self) -> None:
        if self._state is not None and not self.lost():
            self._state.write(self._folder)

    def _look_at_log(self) -> Look:
        if not self.log.exists():
            return []
        stat = self.log.stat()
        return [(self.log.name, stat.st_size, stat.st_mtime_ns)]

    def _look_at_files(self) -> None:
        if time.monotonic() - self._log_changed > _SECONDS_OF_SILENCE:
            found = []
            for path in (self._folder / name for name in _FILES):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    found.append((path.name, stat.length, int(1e9 * stat.mtime)))
            self._files = found

    def _read_companions(self) -> None:
        for role in list(self._companions):
            self._companions[role] = attempt.read(self._folder, role)


def end_of(log: Path, most: int = _MOST_BYTES) -> bytes:
    """Return a log, or the last lines of a long one after a line that says so."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        left_out = max(0, size - most)
        file.seek(left_out)
        text = file.read(most)
    if not left_out:
        return text
    rest = text.partition(b"\n")[2] or text
    left_out += len(text) - len(rest)
    return f"[the first {left_out} bytes are in the logs of the machine]\n".encode() + rest


def _succeeds(step: Callable[[], None]) -> bool:
    try:
        step()
    except Exception:
        # Whatever a network does, the trainer goes on, and so does this thread; the next round
        # makes it good.
        return False
    return True
