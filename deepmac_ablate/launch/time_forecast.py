"""Time forecast: how long the trials of a sweep take on this machine.

It rests on finished trials in the workdir, or on a rehearsal (`rehearsed_arms`), which is
remembered in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.launch.durations import (
    duration_text,
    mean_pace,
    seconds_of_trials,
    trials_at_a_time,
)
from deepmac_ablate.launch.status_rows import Pace, TrialRow
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.storage import file_io, line_files
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.storage.user_cache import user_cache_path
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.trial.trial import Trial

# The latest rehearsals of arms that are remembered.
_MOST_REMEMBERED = 1000
# Fields of a cost that leave the time of a step as it is.
_WITHOUT_EFFECT = ("steps", "checkpoints", "checkpoint_bytes")


class Measured(NamedTuple):
    """Durations in trials of the architecture of an arm.

    Attributes:
        pace: The durations.
        trials: Ids of the finished trials that they were measured in; none for a rehearsal.
        parallel: Number of trials that ran at a time.
    """

    pace: Pace
    trials: tuple[str, ...]
    parallel: int


class TimeForecast(NamedTuple):
    """Time that the trials of a sweep take on this machine.

    Attributes:
        seconds: Seconds for all trials of the sweep; None if nothing was measured.
        seconds_left: Seconds for those that have not finished.
        trials_left: Number of those.
        parallel: Number of trials at a time.
        arms: Measured durations by the label of the arm.
        unknown_arms: Number of other arms, which are taken as the mean of these.
        sweep: The sweep's file, for commands.
    """

    seconds: float | None
    seconds_left: float | None
    trials_left: int
    parallel: int
    arms: Mapping[str, Measured]
    unknown_arms: int
    sweep: str

    def cell(self, arm: str, row: TrialRow) -> str:
        """Return the time of a trial of an arm, for a table."""
        if arm not in self.arms:
            return ""
        pace = {arm: self.arms[arm].pace}
        return duration_text(seconds_of_trials([row._replace(step=0)], pace, 1))

    def line(self) -> str:
        """Return the forecast in one sentence, or the command that makes one possible."""
        if self.seconds is None or self.seconds_left is None:
            return (
                "Time on this machine: unknown; "
                f"`deepmac-ablate launch {self.sweep} --rehearse` measures it.")
        trials = {trial for measured in self.arms.values() for trial in measured.trials}
        rehearsed = sum(not measured.trials for measured in self.arms.values())
        sources = [count_noun(len(trials), "finished trial")] if trials else []
        sources += [f"a rehearsal of {count_noun(rehearsed, 'arm')}"] if rehearsed else []
        others = f"; {count_noun(self.unknown_arms, 'other arm')} as their mean" * bool(
            self.unknown_arms)
        run = max(measured.parallel for measured in self.arms.values())
        apart = "" if run == self.parallel else f", which ran {run} at a time"
        time = f"{duration_text(self.seconds)} for the whole sweep"
        if 0 < self.seconds_left < self.seconds:
            unfinished = count_noun(self.trials_left, "unfinished trial")
            time = f"{duration_text(self.seconds_left)} for {unfinished}, {time}"
        return (
            f"Time on this machine, {count_noun(self.parallel, 'trial')} at a time: about {time} "
            f"(measured in {' and '.join(sources)}{apart}{others}).")

    def to_json(self) -> dict[str, Any]:
        """Return the forecast as JSON values."""
        arms = {
            label: {**measured._asdict(), "pace": measured.pace._asdict()}
            for label, measured in self.arms.items()}
        return {**self._asdict(), "arms": arms}


def forecast_time(
    plan: Plan, rows: Sequence[TrialRow], arms: Mapping[str, Measured], sweep: str = "SWEEP",
    parallel: int | None = None,
) -> TimeForecast:
    """Return the time that a plan takes on this machine.

    Args:
        plan: The sweep.
        rows: The status of its trials.
        arms: The result of `measure_arms`.
        sweep: The sweep's file, for commands.
        parallel: Number of trials at a time; None for as many as were measured.
    """
    parallel = parallel or max((measured.parallel for measured in arms.values()), default=1)
    left = [row for row in rows if row.status != "finished"]
    seconds = seconds_left = None
    if paces := {label: measured.pace for label, measured in arms.items()}:
        seconds = seconds_of_trials([row._replace(step=0) for row in rows], paces, parallel)
        seconds_left = seconds_of_trials(left, paces, parallel)
    unknown = len(plan.arms) - len(arms)
    return TimeForecast(seconds, seconds_left, len(left), parallel, arms, unknown, sweep)


def measure_arms(
    workdir: SweepWorkdir, plan: Plan, rows: Sequence[TrialRow],
    costs: Mapping[str, Cost] | None = None,
) -> dict[str, Measured]:
    """Return the known durations on this machine by the label of the arm.

    They are those of finished trials of the same architecture in the workdir, or else of a
    rehearsal. Trials have the same architecture if their costs differ in nothing but steps.

    Args:
        workdir: The workdir of the sweep.
        plan: The sweep.
        rows: The status of its trials.
        costs: The costs by the label of the arm; None for those of the last launch.
    """
    by_trial = workdir.read_costs()
    wanted = {
        label: _architecture(cost) for label, trials in plan.arms.items()
        if (cost := (costs or by_trial).get(label if costs else trials[0].id)) is not None}
    finished: dict[str, list[TrialRow]] = {}
    for row in (*rows, *_read_other_rows(workdir, plan, by_trial, wanted)):
        own = wanted.get(row.arm) if row.id not in by_trial else _architecture(by_trial[row.id])
        if row.pace is not None and row.host == os.uname().nodename and own is not None:
            finished.setdefault(own, []).append(row)
    parallel = trials_at_a_time([row for group in finished.values() for row in group])
    remembered = _read_remembered()
    found = {}
    for label, architecture in wanted.items():
        if group := finished.get(architecture):
            pace = mean_pace([row.pace for row in group if row.pace is not None])
            found[label] = Measured(pace, tuple(row.id for row in group), parallel)
        elif architecture in remembered:
            found[label] = remembered[architecture]
    return found


def remember_rehearsal(paces: Mapping[str, Pace], costs: Mapping[str, Cost], parallel: int) -> None:
    """Keep the durations of a rehearsal in the user's cache folder.

    Args:
        paces: The durations by the label of the arm.
        costs: The costs of these arms, and maybe others.
        parallel: Number of trials that ran at a time.
    """
    lines = [
        to_json({
            "host": os.uname().nodename, "architecture": _architecture(costs[label]),
            "parallel": parallel, "pace": pace._asdict()}).encode()
        for label, pace in paces.items()]
    path = _path()
    # A full or read-only home must not prevent a rehearsal.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [*line_files.read_lines(path), *lines][-_MOST_REMEMBERED:]
        file_io.write(path, b"".join(line + b"\n" for line in lines))


def _read_other_rows(
    workdir: SweepWorkdir, plan: Plan, costs: Mapping[str, Cost], wanted: Mapping[str, str]
) -> list[TrialRow]:
    """Return the status of trials of earlier launches, of the architecture of an arm."""
    known = {planned.id for planned in plan.trials}
    architectures = set(wanted.values())
    others = tuple(
        PlannedTrial(trial_id, Trial((), (), 0, ""), {}, cost.steps)
        for trial_id, cost in costs.items()
        if trial_id not in known and _architecture(cost) in architectures)
    return StatusReader(workdir, plan._replace(trials=others)).read_rows()


def _architecture(cost: Cost) -> str:
    """Return a text that is equal for trials whose steps take equally long."""
    fields = cost.to_json()
    return json.dumps(
        {name: fields[name] for name in sorted(fields) if name not in _WITHOUT_EFFECT})


def _read_remembered() -> dict[str, Measured]:
    """Return the last rehearsal on this machine by architecture."""
    found = {}
    with contextlib.suppress(OSError):
        for line in line_files.read_lines(_path()):
            # Lines of other versions, or broken ones, are skipped.
            with contextlib.suppress(ValueError, TypeError, KeyError, UserError):
                fields = json.loads(line)
                if fields["host"] == os.uname().nodename:
                    found[fields["architecture"]] = Measured(
                        Pace(**fields["pace"]), (), int(fields["parallel"]))
    return found


def _path() -> epath.Path:
    return epath.Path(user_cache_path("rehearsals.jsonl"))
