"""The status of each trial of a sweep as one row, and summaries of many rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from deepmac_ablate.errors import count_noun

# Further trials with broken files are only counted.
_MOST_BROKEN = 20

Status = Literal["new", "queued", "running", "finished", "failed", "interrupted"]


class Pace(NamedTuple):
    """Durations in seconds that were measured in a trial or a rehearsal.

    Attributes:
        step: A training step.
        setup: Everything in a process but its steps and the final evaluation: imports, building,
            tracing, checkpoints.
        restart: As `setup`, for a seed that takes over the process of another one; None if unknown.
        image: The evaluation of an image; 0 if it is part of `setup`.
        images: Number of images evaluated in a trial; 0 if evaluation is part of `setup`.
    """

    step: float
    setup: float = 0.0
    restart: float | None = None
    image: float = 0.0
    images: int = 0


class Evaluating(NamedTuple):
    """Progress of an evaluation: images done, their total number, and the seconds so far."""

    done: int
    total: int
    seconds: float


class TrialRow(NamedTuple):
    """The present status of one trial.

    Attributes:
        id: The trial's id.
        arm: The label of its arm.
        seed: The trial's seed.
        status: The trial's status.
        attempt: Number of times the trial was started; 0 if never.
        step: The last step in the metrics log; 0 if there is none.
        steps: Number of steps of the whole training; None if unknown.
        loss: Total loss at `step`; None if it is missing or not finite.
        steps_per_second: Training speed at `step`; None if it is missing.
        seconds: Duration of the last attempt so far.
        cause: Why the trial failed, was interrupted or is waiting, in one sentence; else empty.
        code_state: The result of `provenance.code_state`; empty if it was not read.
        continued_from: The result of `provenance.continued_from`; empty if it was not read.
        log: Path of the last attempt's log relative to the sweep's workdir; empty if unknown.
        broken: A sentence about a file of the trial that is broken or cannot be read; else empty.
        evaluating: The evaluation that is going on; None if none is.
        pace: Durations measured in the trial, once it has finished; None if they are unknown.
        started: Unix time at which the last attempt started; None if unknown.
        host: Name of the machine of the last attempt; empty if unknown.
    """

    id: str
    arm: str
    seed: int
    status: Status
    attempt: int = 0
    step: int = 0
    steps: int | None = None
    loss: float | None = None
    steps_per_second: float | None = None
    seconds: float = 0.0
    cause: str = ""
    code_state: str = ""
    continued_from: str = ""
    log: str = ""
    broken: str = ""
    evaluating: Evaluating | None = None
    pace: Pace | None = None
    started: float | None = None
    host: str = ""


def count_by_status(rows: Iterable[TrialRow]) -> dict[str, int]:
    """Return the number of trials of each status, zeros included, in the order of display."""
    statuses = [row.status for row in rows]
    order = ("running", "queued", "finished", "failed", "interrupted", "new")
    return {status: statuses.count(status) for status in order}


def group_failures(
    rows: Iterable[TrialRow], status: Status = "failed"
) -> list[list[TrialRow]]:
    """Return the failed trials in groups with the same cause, the largest group first.

    Args:
        rows: Trials of a sweep.
        status: Another status, whose trials are grouped instead.
    """
    groups: dict[str, list[TrialRow]] = {}
    for row in rows:
        if row.status == status:
            groups.setdefault(error_signature(row.cause), []).append(row)
    return sorted(groups.values(), key=len, reverse=True)


def status_summary(rows: Sequence[TrialRow]) -> str:
    """Return the failures of a sweep by cause, and the number of trials of each status.

    Args:
        rows: All trials of the sweep. New ones are counted as missing.

    Returns:
        `broken_files`; for each cause the number of failures, with the cause, id and log of one of
        them as an example; why trials wait; then a line such as "12 finished, 1 failed, 2
        interrupted, 0 missing".
    """
    # Failures have their own lines.
    lines = broken_files(
        row for row in rows if row.status != "failed" or row.broken != row.cause)
    for group in group_failures(rows):
        first = group[0]
        lines += [
            f"{len(group)} failed: {first.cause or 'unknown cause'}",
            f"    for example {first.id} ({first.arm}, seed {first.seed}): {log_location(first)}"]
    lines += [
        f"{len(group)} queued: {group[0].cause}" for group in group_failures(rows, "queued")
        if group[0].cause]
    number = count_by_status(rows)
    more = "".join(
        f", {number[status]} {status}" for status in ("running", "queued") if number[status])
    lines.append(
        f"{number['finished']} finished, {number['failed']} failed, "
        f"{number['interrupted']} interrupted, {number['new']} missing{more}")
    return "\n".join(lines)


def broken_files(rows: Iterable[TrialRow]) -> list[str]:
    """Return a line for each trial with a file that is broken or cannot be read."""
    lines = [f"{row.id} ({row.arm}, seed {row.seed}): {row.broken}" for row in rows if row.broken]
    more = [f"... and {count_noun(len(lines) - _MOST_BROKEN, 'more trial')} with broken files"]
    return lines[:_MOST_BROKEN] + (more if len(lines) > _MOST_BROKEN else [])


def log_location(row: TrialRow) -> str:
    """Return the path of a trial's log, or of its folder of logs, relative to the workdir."""
    return row.log or f"trials/{row.id}/logs"


# The order matters: paths may contain hexadecimal digits, and those may contain numbers.
_VARYING = (
    # With or without a scheme, and followed by line numbers or not.
    (re.compile(r"(?:\w+:/)?[\w.~@%+=-]*(?:/[\w.@%+=-]+)+/?(?::\d+)*"), "PATH"),
    (re.compile(r"\b(?:0x[0-9a-f]+|(?=[a-f]*\d)[0-9a-f]{8,})\b", re.IGNORECASE), "HEX"),
    # Not the digits in names such as float32, but those after an underscore, which are counters.
    (re.compile(r"(?<![A-Za-z\d.])[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|(?:nan|inf)\b)", re.IGNORECASE),
     "N"),
    # Shapes of any rank.
    (re.compile(r"N(?:\s*,\s*N)+"), "N"),
    (re.compile(r"\s+"), " "),
)


def error_signature(cause: str) -> str:
    """Return a cause of failure without the parts that differ between trials.

    Paths, hexadecimal ids and addresses, and numbers (NaN and infinity included) become
    placeholders; a list of numbers becomes one placeholder.

    Args:
        cause: One sentence for people.

    Returns:
        A text that is equal for equal causes; only for comparison.
    """
    for pattern, word in _VARYING:
        cause = pattern.sub(word, cause)
    return cause.strip()
