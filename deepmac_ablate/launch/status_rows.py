"""What is shown of each trial of a sweep, and what all of them come to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from deepmac_ablate.launch.trial_status import Status


class TrialRow(NamedTuple):
    """A trial as it is now.

    Attributes:
        id: Of the trial.
        arm: The label of its arm.
        seed: Of the trial.
        status: What became of it.
        attempt: How often it was started; 0 for a new one.
        step: The last step that is noted.
        steps: How many it takes in all; None where that is not known.
        loss: At the last step; None where none is noted or it is no number.
        steps_per_second: At the last step; None where none is noted.
        seconds: How long its last attempt has been running, or ran.
        cause: Why it failed, was interrupted or waits, in one sentence; else empty.
        code_state: As `provenance.code_state` says.
        log: The path of the last attempt's log, relative to the sweep's folder; empty where it is
            not known.
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
    log: str = ""


def seconds_left(row: TrialRow) -> float | None:
    """Return how long a running trial will train; None where nobody can tell."""
    if row.status != "running" or row.steps is None or not row.steps_per_second:
        return None
    return max(row.steps - row.step, 0) / row.steps_per_second


def sweep_seconds_left(rows: Sequence[TrialRow]) -> float | None:
    """Return how long a sweep will train with as many trials at a time as are running now.

    What is new, queued or interrupted is taken to be run, at the pace of its arm where one is
    known, else at the mean pace of all; what failed is not. Evaluation is not counted.

    Returns:
        None where nothing runs, or no running trial has a pace yet.
    """
    running = [row for row in rows if row.status == "running"]
    known = [left for row in running if (left := seconds_left(row)) is not None]
    if not known:
        return None
    paces = {row.arm: 1 / row.steps_per_second for row in rows if row.steps_per_second}
    typical = sum(paces.values()) / len(paces)
    work = sum(
        max(row.steps - row.step, 0) * paces.get(row.arm, typical)
        for row in rows if row.status in ("running", "new", "queued", "interrupted") and row.steps)
    return max(*known, work / len(running))


def counts(rows: Iterable[TrialRow]) -> dict[str, int]:
    """Return how many trials there are of each status, in the order in which they are said."""
    statuses = [row.status for row in rows]
    order = ("running", "queued", "finished", "failed", "interrupted", "new")
    return {status: statuses.count(status) for status in order}


def failures(rows: Iterable[TrialRow]) -> list[list[TrialRow]]:
    """Return the failed trials in groups of one cause, the largest group first."""
    groups: dict[str, list[TrialRow]] = {}
    for row in rows:
        if row.status == "failed":
            groups.setdefault(normalised(row.cause), []).append(row)
    return sorted(groups.values(), key=len, reverse=True)


def digest(rows: Sequence[TrialRow]) -> str:
    """Return what a sweep came to: failures by cause, then how many trials are in which state.

    Args:
        rows: All trials of the sweep; a new one is missing.

    Returns:
        For each cause how many failed of it, and of one of them the cause in its own words, its id
        and where its log is; last a line such as "12 finished, 1 failed, 2 interrupted, 0 missing".
    """
    lines = []
    for group in failures(rows):
        first = group[0]
        lines += [
            f"{len(group)} failed: {first.cause or 'no cause is known'}",
            f"    for instance {first.id} ({first.arm}, seed {first.seed}): {log_path(first)}"]
    number = counts(rows)
    more = "".join(f", {number[it]} {it}" for it in ("running", "queued") if number[it])
    lines.append(
        f"{number['finished']} finished, {number['failed']} failed, "
        f"{number['interrupted']} interrupted, {number['new']} missing{more}")
    return "\n".join(lines)


def log_path(row: TrialRow) -> str:
    """Return where to read what a trial said, relative to the sweep's folder."""
    return row.log or f"trials/{row.id}/logs"


# In this order: a path may hold hexadecimal digits, and those may hold numbers.
_VARYING = (
    # With a scheme or without, and the line that may follow.
    (re.compile(r"(?:\w+:/)?[\w.~@%+=-]*(?:/[\w.@%+=-]+)+/?(?::\d+)*"), "PATH"),
    (re.compile(r"\b(?:0x[0-9a-f]+|(?=[a-f]*\d)[0-9a-f]{8,})\b", re.IGNORECASE), "HEX"),
    # Not the digits of a name, such as float32; those after an underscore count something.
    (re.compile(r"(?<![A-Za-z\d.])[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|(?:nan|inf)\b)", re.IGNORECASE),
     "N"),
    # Shapes of any rank.
    (re.compile(r"N(?:\s*,\s*N)+"), "N"),
    (re.compile(r"\s+"), " "),
)


def normalised(cause: str) -> str:
    """Return a cause without what varies from trial to trial.

    Paths, hexadecimal digits (ids, addresses) and numbers, not-a-number and infinity among them,
    are put in place by words, and lists of numbers by one.

    Args:
        cause: One sentence, as a person reads it.

    Returns:
        A text that is equal where the causes are the same. It is for comparing only.
    """
    for pattern, word in _VARYING:
        cause = pattern.sub(word, cause)
    return cause.strip()
