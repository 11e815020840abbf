"""Attempt store on ``gs://``, written by a thread so that no trainer waits for the network.

::

    logs/train-3.log     every 15 s while it changes, whole: objects cannot be appended to
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

from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.launch.supervision.attempt import Attempt
from deepmac_ablate.launch.supervision.attempt_store import next_attempt_number
from deepmac_ablate.launch.supervision.signals import SignalListener
from deepmac_ablate.launch.supervision.watchdog import Snapshot
from deepmac_ablate.storage import file_io

if TYPE_CHECKING:
    from deepmac_ablate.launch.supervision.gcs_lock import GcsLock

HEARTBEAT = 15.0

# Time limit for the last log and state, unless the process was asked to stop.
_SECONDS_TO_FINISH = 300.0
_SECONDS_BETWEEN_TRIES = 1.0
_SECONDS_BETWEEN_POLLS = 0.1
# A trainer usually prints more often; its other files are checked only when it does not.
_SECONDS_OF_SILENCE = 60.0
# TensorFlow writes the last one at every checkpoint.
_FILES = ("metrics.jsonl", "evaluations.jsonl", "checkpoints/checkpoint")
# Size limit of a log on ``gs://``; the machine's own logs are complete.
_MAX_LOG_BYTES = 4 << 20


class GcsAttemptStore:
    """Attempt store in a trial folder on ``gs://``, see `AttemptStore`.

    Args:
        folder: Trial folder.
        role: "train" or "eval".
        lock: Lock of the role.
        scratch: Folder on this machine for the log.
        listener: Reports whether this process was asked to stop; the final state may then take
            `seconds_to_finish` only.
        seconds_to_finish: Time limit for the final state once this process was asked to stop.

    Raises:
        UserError: If the state file of the previous attempt is broken or cannot be read.
    """

    def __init__(
        self, folder: epath.Path, role: str, lock: GcsLock, scratch: Path,
        listener: SignalListener, seconds_to_finish: float,
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._listener = listener
        self._seconds_to_finish = seconds_to_finish
        logs = (path.name for path in (folder / "logs").glob(f"{role}-*.log"))
        self.number = next_attempt_number(attempt.read_attempt(folder, role), logs)
        self.log = scratch / f"{role}-{self.number}.log"
        self.descriptors: Sequence[int] = ()
        self.environment: Mapping[str, str] = {}
        self._remote_log = folder / "logs" / self.log.name
        self._state: Attempt | None = None
        self._sent_size = 0
        self._log_changed = time.monotonic()
        self._files: Snapshot = []
        self._companions: dict[str, Attempt | None] = {}
        self._wake = threading.Event()
        self._finishing = threading.Event()
        self._finished = threading.Event()
        threading.Thread(target=self._send, name="attempt store", daemon=True).start()

    def write(self, state: Attempt) -> None:
        """Let the thread write the log and then a state."""
        self._state = state
        self._wake.set()

    def finish(self, final: Attempt, hurried: bool) -> None:
        """Write the end of the log and then the final state, with several tries if necessary."""
        self._finishing.set()
        self.write(final)
        seconds = self._seconds_to_finish if hurried else _SECONDS_TO_FINISH
        deadline = time.monotonic() + seconds
        while not self._finished.wait(_SECONDS_BETWEEN_POLLS):
            if not hurried and self._listener.stop_signal is not None:
                hurried = True
                deadline = min(deadline, time.monotonic() + self._seconds_to_finish)
            if self.is_lost() or time.monotonic() >= deadline:
                return

    def is_lost(self) -> bool:
        """Return whether another process has taken the trial over.

        Until then a trainer may continue without the network: it cannot write to the folder and so
        cannot get in the way of another one.
        """
        return self._lock.taken_over

    def take_snapshot(self) -> Snapshot:
        """Return the state of the log and, while that is silent, of the trial's other files."""
        return [*self._snapshot_log(), *self._files]

    def read_companion(self, role: str) -> Attempt | None:
        """Return the last known attempt of another role; None on the first call."""
        return self._companions.setdefault(role, None)

    def _send(self) -> None:
        while not self._finished.is_set():
            self._wake.wait()
            self._wake.clear()
            final = self._finishing.is_set()
            steps = [self._send_log, self._send_state]
            if not final:
                steps += [self._snapshot_files, self._read_companions]
            # Each step is tried, even if an earlier one has failed.
            failures = sum(not _succeeds(step) for step in steps)
            if final and not failures:
                self._finished.set()
            elif final:
                time.sleep(_SECONDS_BETWEEN_TRIES)
                self._wake.set()

    def _send_log(self) -> None:
        size = self.log.stat().st_size if self.log.exists() else 0
        if size != self._sent_size and not self.is_lost():
            self._log_changed = time.monotonic()
            file_io.write(self._remote_log, read_log_end(self.log))
            self._sent_size = size

    def _send_state(self) -> None:
        if self._state is not None and not self.is_lost():
            self._state.write(self._folder)

    def _snapshot_log(self) -> Snapshot:
        if not self.log.exists():
            return []
        stat = self.log.stat()
        return [(self.log.name, stat.st_size, stat.st_mtime_ns)]

    def _snapshot_files(self) -> None:
        if time.monotonic() - self._log_changed > _SECONDS_OF_SILENCE:
            found = []
            for path in (self._folder / name for name in _FILES):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    found.append((path.name, stat.length, int(1e9 * stat.mtime)))
            self._files = found

    def _read_companions(self) -> None:
        for role in list(self._companions):
            self._companions[role] = attempt.read_attempt(self._folder, role)


def read_log_end(log: Path, max_bytes: int = _MAX_LOG_BYTES) -> bytes:
    """Return a log; of a long one, its last lines after a line that says how much is omitted."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        omitted = max(0, size - max_bytes)
        file.seek(omitted)
        text = file.read(max_bytes)
    if not omitted:
        return text
    rest = text.partition(b"\n")[2] or text
    omitted += len(text) - len(rest)
    return f"[the first {omitted} bytes are in the machine's own logs]\n".encode() + rest


def _succeeds(step: Callable[[], None]) -> bool:
    try:
        step()
    except Exception:
        # Whatever the network does, the trainer and this thread continue; the next round repeats
        # the step.
        return False
    return True
