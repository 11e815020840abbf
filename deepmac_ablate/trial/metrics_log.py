"""Log of numbers by step: one JSON object per line, each step at most once.

It may be read while it is written, its writer may be killed at any moment, and a resumed run
repeats some steps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from deepmac_ablate.storage import line_files
from deepmac_ablate.storage.strict_json import (
    COUNT,
    FINITE,
    TIME,
    Kind,
    check_fields,
    from_json,
    from_json_lines,
    optional,
    to_json,
)

_POSITIVE = Kind("a number above 0", lambda value: type(value) in (int, float) and 0 < value < 1e15)
_LINE = {
    "step": COUNT, "wall_time": optional(TIME), "train/total_loss": optional(FINITE),
    "train/steps_per_second": optional(_POSITIVE)}


class StepLog:
    """A file of lines ``{"step": 100, "wall_time": 1.7e9, "name": number, ...}``.

    Args:
        path: The file, written by one process. Its folder must exist once a line is appended.
        at_once: As for `line_files.append_line`.
    """

    def __init__(self, path: epath.Path, at_once: bool = False) -> None:
        self._path, self._at_once = path, at_once
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
        line_files.append_line(self._path, to_json(row | dict(scalars)), self._at_once)
        self._last_step = step

    def complete(self) -> None:
        """Make the file hold all lines, for readers that know of no parts."""
        line_files.merge_parts(self._path)

    def drop_after(self, step: int) -> None:
        """Delete the lines of later steps."""
        self.complete()
        rows = self.read()
        kept = [row for row in rows if row["step"] <= step]
        if len(kept) < len(rows):
            line_files.replace_lines(self._path, [to_json(row).encode() for row in kept])
        self._last_step = None

    def read(self) -> list[dict[str, Any]]:
        """Return the lines by increasing step; an empty list if there is no file.

        An incomplete last line, whose writer was killed, is left out.

        Raises:
            UserError: If any other line is broken.
        """
        where = str(self._path)
        text = b"".join(line + b"\n" for line in line_files.read_lines(self._path))
        lines = from_json_lines(text, where, _LINE)
        for place, line in enumerate(lines, 1):
            _check_scalars(line, f"Line {place} of {where}")
        return lines


def parse_last_line(tail: bytes | None, where: str) -> dict[str, Any]:
    """Return the last complete line in the tail of a log; {} without one.

    Raises:
        UserError: If it is broken.
    """
    lines = (tail or b"").split(b"\n")[:-1]
    if not lines:
        return {}
    where = f"The last line of {where}"
    line = from_json(lines[-1], where)
    check_fields(line, _LINE, where)
    return line


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


def typical_step_seconds(metrics: Sequence[Mapping[str, Any]], after: int = 0) -> float | None:
    """Return the median time of a step over the lines of an attempt; None without lines.

    Its first line does not count unless it is the only one, as its time includes tracing.

    Args:
        metrics: As for `total_train_seconds`.
        after: The step from which the attempt continued.
    """
    lines = [line for line in metrics if line["step"] > after]
    times = [1 / line["train/steps_per_second"] for line in lines[1:] or lines]
    return statistics.median(times) if times else None


def _check_scalars(line: Mapping[str, Any], where: str) -> None:
    names = [name for name in line if "/" in name]
    check_fields(line, dict.fromkeys(names, optional(FINITE)), where)
