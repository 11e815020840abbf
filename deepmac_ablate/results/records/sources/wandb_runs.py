"""Runs of W&B's as trials: those that this project has mirrored, and anybody else's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from deepmac_ablate.results.records.sources.record import Record, is_metric
from deepmac_ablate.sweep.standing import Status

_OWN = "_ablate/"
# As `standing` has it: whatever still runs comes first.
_PRECEDENCE: tuple[Status, ...] = ("running", "failed", "interrupted", "new")


class Run(NamedTuple):
    """A run.

    Attributes:
        run_id: Unique in its project; of a trial's, the trial's id with or without "-eval".
        project: Where it is listed; that of a trial is its sweep.
        group: The runs that it is shown with; that of a trial is its arm.
        name: What people read.
        job_type: "eval" for one that evaluates only.
        tags: As they were given; "baseline" says that it is of the baseline.
        config: Values by name.
        summary: The last value of everything.
        status: What became of it; "finished" if it ended well.
        cause: Why it did not.
        starts: How often it was started, as far as that is known.
    """

    run_id: str
    project: str
    group: str
    name: str
    job_type: str
    tags: Sequence[str]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    status: Status
    cause: str = ""
    starts: int = 1

    @property
    def trial(self) -> str:
        """The id of its trial; its own where it is nobody's."""
        return self.config.get(f"{_OWN}id") or self.run_id

    @property
    def has_result(self) -> bool:
        """Whether it ended well and knows the numbers that its trial came to.

        Numbers of evaluations during training have the same names. The mirror adds `step` when it
        logs result.json, and at no other time.
        """
        is_own = f"{_OWN}id" in self.config
        return self.status == "finished" and (not is_own or "step" in self.summary)


def records(runs: Iterable[Run]) -> list[Record]:
    """Returns the trials that runs are of, in the order of their first runs.

    Args:
        runs: Of several that one trial has, such as a trainer and an evaluator, in any order.
    """
    by_trial: dict[str, list[Run]] = {}
    for run in runs:
        by_trial.setdefault(run.trial, []).append(run)
    return [_record(trial, of_trial) for trial, of_trial in by_trial.items()]


def _record(trial: str, runs: Sequence[Run]) -> Record:
    # The trainer's, which comes first, knows most.
    runs = sorted(runs, key=lambda run: run.job_type == "eval")
    first = runs[0]
    config, finished = first.config, [run for run in runs if run.has_result]
    status, cause = ("finished", "") if finished else _unfinished(runs)
    summary = (finished or runs)[0].summary
    levels = config.get(f"{_OWN}levels")
    return Record(
        trial=trial, sweep=first.project,
        arm=str(config.get(f"{_OWN}arm") or first.group or first.name),
        baseline="baseline" in first.tags,
        seed=_whole(config.get(f"{_OWN}seed", config.get("seed"))),
        levels={
            axis: str(level) for axis, level in levels.items()} if isinstance(levels, dict) else {},
        status=status, cause=cause,
        step=_first_whole(summary, "step", "global_step", "_step"),
        steps=_whole(config.get("Training.steps")),
        attempts=sum(run.starts for run in runs if run.job_type != "eval"),
        train_seconds=_number(summary.get("train_seconds")),
        dataset=it if isinstance(it := summary.get("dataset"), str) else None,
        metrics=_metrics(summary) if finished else {})


def _unfinished(runs: Sequence[Run]) -> tuple[Status, str]:
    """Says what became of a trial without a result, and why."""
    for status in _PRECEDENCE:
        for run in runs:
            if run.status == status:
                return status, run.cause
    return "interrupted", "its runs ended well, but none of them has logged a result"


def _metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a summary, NaN for what is undefined: null, or no finite number."""
    metrics = {}
    for name, value in summary.items():
        if is_metric(name) and (value in (None, "NaN") or type(value) in (int, float)):
            number = _number(value)
            metrics[name] = math.nan if number is None else number
    return metrics


def _number(value: Any) -> float | None:  # noqa: ANN401 - JSON
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _whole(value: Any) -> int | None:  # noqa: ANN401 - JSON
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _first_whole(summary: Mapping[str, Any], *names: str) -> int | None:
    return next((it for name in names if (it := _whole(summary.get(name))) is not None), None)
