"""Whether a job does anything, as its files tell."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path


class SignsOfLife:
    """Tells how long none of a job's files has changed.

    They are its log, the trial's metrics and evaluations, and its checkpoints.

    Args:
        folder: The trial's.
        log: The job's.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self._files = [log, folder / "metrics.jsonl", folder / "evaluations.jsonl"]
        self._checkpoints = folder / "checkpoints"
        self._seen: list[tuple[str, int, int]] = []
        self._last_change = time.monotonic()

    def seconds_of_silence(self) -> float:
        """Returns the seconds since the look that found the last change."""
        there = self._look()
        if there != self._seen:
            self._seen, self._last_change = there, time.monotonic()
        return time.monotonic() - self._last_change

    def _look(self) -> list[tuple[str, int, int]]:
        """Returns the name, size and time of the last change, in ns, of each file that is there."""
        paths = list(self._files)
        with contextlib.suppress(OSError):
            paths += sorted(self._checkpoints.iterdir())
        found = []
        for path in paths:
            # Checkpoints come and go.
            with contextlib.suppress(OSError):
                stat = os.stat(path)  # noqa: PTH116
                found.append((path.name, stat.st_size, stat.st_mtime_ns))
        return found
