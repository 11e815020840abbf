"""Watchdog: measures how long a job has changed none of its files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

# Name, size in bytes and modification time in ns of each file; equal while nothing changes.
Snapshot = list[tuple[str, int, int]]


class Watchdog:
    """Timer since the last change of a job's files.

    Args:
        take_snapshot: Returns the current state of the files.
    """

    def __init__(self, take_snapshot: Callable[[], Snapshot]) -> None:
        self._take_snapshot = take_snapshot
        self._last: Snapshot = []
        self._last_change = time.monotonic()

    def seconds_without_change(self) -> float:
        """Return the seconds since the snapshot that showed the last change."""
        current = self._take_snapshot()
        if current != self._last:
            self._last, self._last_change = current, time.monotonic()
        return time.monotonic() - self._last_change


def snapshot_files(folder: Path, log: Path) -> Snapshot:
    """Return the state of a job's log, the trial's metrics, evaluations and checkpoints.

    Args:
        folder: Trial folder on a disk.
        log: Log of the job.
    """
    paths = [log, folder / "metrics.jsonl", folder / "evaluations.jsonl"]
    with contextlib.suppress(OSError):
        paths += sorted((folder / "checkpoints").iterdir())
    found = []
    for path in paths:
        # Checkpoints come and go.
        with contextlib.suppress(OSError):
            stat = os.stat(path)  # noqa: PTH116
            found.append((path.name, stat.st_size, stat.st_mtime_ns))
    return found
