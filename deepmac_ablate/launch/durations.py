"""Durations of trials and sweeps on one machine, from those that were measured in other trials.

`time_forecast` finds the measurements. Hours on rented devices are estimated in
`cloud_jobs.cost_forecast`, from multiply-adds or the pace of trials on such a device.
"""

from __future__ import annotations

import bisect
import heapq
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepmac_ablate.launch.status_rows import Pace, TrialRow

_UNITS = (("days", 48 * 3600, 24 * 3600), ("h", 3600, 3600), ("min", 60, 60))


def duration_text(seconds: float) -> str:
    """Return "42 s", "12.3 min", "5.1 h" or "3.2 days"."""
    for unit, least, size in _UNITS:
        if seconds >= least:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def measured_pace(row: TrialRow, result: Mapping[str, Any]) -> Pace | None:
    """Return the durations in a finished trial; None if they are unknown.

    Args:
        row: The trial. Those of earlier versions have only the pace and the time of an attempt.
        result: The content of its result.json.
    """
    if result.get("step_seconds") is None:
        if not row.steps_per_second or row.steps is None or row.attempt != 1:
            return None
        step = 1 / row.steps_per_second
        return Pace(step, max(row.seconds - row.steps * step, 0.0))
    setup, images = result.get("setup_seconds") or 0.0, result.get("images") or 0
    image = (result.get("evaluation_seconds") or 0.0) / images if images else 0.0
    restart = setup if result.get("trials_before") else None
    return Pace(result["step_seconds"], setup, restart, image, images)


def mean_pace(paces: Sequence[Pace]) -> Pace:
    """Return mean durations; `setup` is that of trials which came first in their process."""
    restarts = [pace.restart for pace in paces if pace.restart is not None]
    first = [pace.setup for pace in paces if pace.setup != pace.restart]
    return Pace(
        statistics.fmean(pace.step for pace in paces), statistics.fmean(first or restarts),
        statistics.fmean(restarts) if restarts else None,
        statistics.fmean(pace.image for pace in paces), max(pace.images for pace in paces))


def paces_of_rows(
    rows: Iterable[TrialRow], known: Mapping[str, Pace] | None = None
) -> dict[str, Pace]:
    """Return the pace of each arm: of its finished trials, else the known or the current one."""
    finished: dict[str, list[Pace]] = {}
    current: dict[str, Pace] = {}
    for row in rows:
        if row.pace is not None:
            finished.setdefault(row.arm, []).append(row.pace)
        elif row.steps_per_second:
            current[row.arm] = Pace(1 / row.steps_per_second)
    return {
        **current, **(known or {}), **{arm: mean_pace(paces) for arm, paces in finished.items()}}


def seconds_left(row: TrialRow, pace: Pace | None = None) -> float | None:
    """Return the time that a running trial still takes; None if it cannot be estimated.

    Args:
        row: The trial.
        pace: The durations of its arm, for setting up and evaluation; None if they are unknown.
    """
    step = 1 / row.steps_per_second if row.steps_per_second else pace and pace.step
    if row.status != "running" or row.steps is None or not step:
        return None
    known = pace or Pace(step)
    starting = 0.0 if row.step else max(known.setup - row.seconds, 0.0)
    training = max(row.steps - row.step, 0) * step
    evaluation = known.images * known.image
    if row.evaluating is not None and row.evaluating.done:
        done, total, seconds = row.evaluating
        now = (total - done) * seconds / done
        evaluation = now if row.step >= row.steps else now + evaluation
    return starting + training + evaluation


def sweep_seconds_left(
    rows: Sequence[TrialRow], known: Mapping[str, Pace] | None = None
) -> float | None:
    """Return the time that a sweep still takes with as many parallel trials as now.

    New, queued and interrupted trials are assumed to take as long as others of their arm, or as the
    mean of all arms if theirs is unknown. Failed trials are not counted.

    Args:
        rows: The status of all trials.
        known: The durations of arms of which no trial in `rows` has finished.

    Returns:
        Seconds, or None if nothing is running or no running trial has a known speed.
    """
    paces = paces_of_rows(rows, known)
    running = [row for row in rows if row.status == "running"]
    left = [seconds_left(row, paces.get(row.arm)) for row in running]
    if all(seconds is None for seconds in left):
        return None
    waiting = [row for row in rows if row.status in ("new", "queued", "interrupted")]
    return seconds_of_trials(waiting, paces, len(running), [seconds or 0.0 for seconds in left])


def seconds_of_trials(
    rows: Sequence[TrialRow], paces: Mapping[str, Pace], parallel: int,
    busy: Sequence[float] = (),
) -> float:
    """Return the time until all trials have finished, run as a launch would run them.

    Args:
        rows: The trials that wait, in order.
        paces: The durations of at least one arm; those of other arms are taken as the mean.
        parallel: Number of trials at a time.
        busy: Seconds until each running trial ends.
    """
    mean = mean_pace(list(paces.values()))
    slots = [*busy, *[0.0] * (parallel - len(busy))]
    heapq.heapify(slots)
    ends, waiting, arms = sorted(busy), deque(rows), deque(row.arm for row in rows)
    while waiting:
        now = heapq.heappop(slots)
        unfinished = len(waiting) + len(ends) - bisect.bisect_right(ends, now)
        for place in range(batch_size(arms, unfinished, parallel)):
            row = waiting.popleft()
            pace = paces.get(arms.popleft(), mean)
            setup = pace.setup if place == 0 or pace.restart is None else pace.restart
            steps = max((row.steps or 0) - row.step, 0)
            now += setup + steps * pace.step + pace.images * pace.image
            bisect.insort(ends, now)
        heapq.heappush(slots, now)
    return max(ends, default=0.0)


def batch_size(arms: Sequence[str], unfinished: int, parallel: int) -> int:
    """Return the number of trials, from the first on, that one process runs one after the other.

    They are seeds of one arm, and at most the fair share of a process, so that none is idle while
    others have work.

    Args:
        arms: The arms of the trials that wait, at least one, in order.
        unfinished: Number of all trials that have not finished, running ones included.
        parallel: Number of processes at a time.
    """
    share, number = -(-unfinished // parallel), 1
    while number < min(share, len(arms)) and arms[number] == arms[0]:
        number += 1
    return number


def trials_at_a_time(rows: Sequence[TrialRow]) -> int:
    """Return how many of some trials ran at a time, on average over the time that any ran."""
    intervals = sorted(
        (row.started, row.started + row.seconds) for row in rows if row.started is not None)
    busy, reached = 0.0, float("-inf")
    for start, end in intervals:
        busy += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return max(round(sum(end - start for start, end in intervals) / busy), 1) if busy else 1
