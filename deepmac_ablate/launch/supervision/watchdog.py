"""Whether a job does anything, as its files tell."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

# What tells that a file was changed; equal as long as it was not.
Look = list[tuple[str, int, int]]


class SignsOfLife:
    """Tells how long none of a job's files has changed.

    Args:
        look: Returns what changes with them.
    """

    def __init__(self, look: Callable[[], Look]) -> None:
        self._look = look
        self._seen: Look = []
        self._last_change = time.monotonic()

    def seconds_of_silence(self) -> float:
        """Return the seconds since the look that found the last change."""
        there = self._look()
        if there != self._seen:
            self._seen, self._last_change = there, time.monotonic()
        return time.monotonic() - self._last_change


def look(folder: Path, log: Path) -> Look:
    """Return the name, size and time of the last change, in ns, of each file that is there.

    They are a job's log, the trial's metrics and evaluations, and its checkpoints.

    Args:
        folder: The trial's, on a disk.
        log: The job's.
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
