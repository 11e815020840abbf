"""Log of numbers by step: one JSON object per line, each step at most once.

It may be read while it is written, its writer may be killed at any moment, and a resumed run
repeats some steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import from_json_lines, to_json


class StepLog:
    """A file of lines ``{"step": 100, "wall_time": 1.7e9, "name": number, ...}``.

    Args:
        path: The file, written by one process. Its folder must exist once a line is appended.
    """

    def __init__(self, path: epath.Path) -> None:
        self._path = path
        self._last_step: int | None = None

    def append(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Append one line.

        Args:
            step: The step, larger than that of every line before; see `drop_after`.
            scalars: Python or numpy numbers by name; NaN and infinity are stored as null.

        Raises:
            ValueError: If the step is not larger, or a name is reserved.
        """
        if self._last_step is None:
            self._last_step = max((row["step"] for row in self.read()), default=-1)
        if step <= self._last_step:
            raise ValueError(
                f"The step must be larger than {self._last_step}, the last in {self._path}, "
                f"got {step}.")
        row = {"step": int(step), "wall_time": time.time()}
        if taken := row.keys() & scalars.keys():
            raise ValueError(f"A metric must not be called {min(taken)!r}.")
        file_io.append_line(self._path, to_json(row | dict(scalars)))
        self._last_step = step

    def drop_after(self, step: int) -> None:
        """Delete the lines of later steps."""
        rows = self.read()
        kept = [row for row in rows if row["step"] <= step]
        if len(kept) < len(rows):
            file_io.write(self._path, "".join(to_json(row) + "\n" for row in kept))
        self._last_step = None

    def read(self) -> list[dict[str, Any]]:
        """Return the lines by increasing step; an empty list if there is no file.

        An incomplete last line, whose writer was killed, is left out.

        Raises:
            UserError: If any other line is broken.
        """
        return from_json_lines(file_io.read(self._path), str(self._path))


def total_train_seconds(metrics: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the time that a trial's steps took in all attempts; repeated steps count once.

    Args:
        metrics: The lines of metrics.jsonl for all steps, from `TrialWorkdir.read_metrics`; empty
            for an imported trial, whose time is unknown.
    """
    if not metrics:
        return None
    steps = [0, *(line["step"] for line in metrics)]
    return sum(
        (line["step"] - before) / line["train/steps_per_second"]
        for before, line in zip(steps, metrics, strict=False))
