"""Sweeps of a report: question, design, progress and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from etils import epath

from deepmac_ablate.launch import status_rows, trial_status
from deepmac_ablate.launch.status_rows import TrialRow
from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.results import columns
from deepmac_ablate.results.loading import load
from deepmac_ablate.sweep.plan import Plan

# More trials with the same cause are only counted.
_MAX_NAMED_FAILURES = 8


class Design(NamedTuple):
    """Design and progress of a sweep.

    Attributes:
        name: Name of the sweep; empty for trials that were trained without one.
        question: Question that the sweep asks; empty if it is unknown.
        axes: Names of the levels, by axis.
        baseline: Name of the baseline arm; empty if there is none.
        arms: Number of arms.
        seeds: All seeds in use, ascending.
        counts: Number of trials by status.
    """

    name: str
    question: str
    axes: Mapping[str, Sequence[str]]
    baseline: str
    arms: int
    seeds: Sequence[int]
    counts: Mapping[str, int]

    def progress(self) -> str:
        """Return the number of trials by status, such as "10 finished, 2 missing"."""
        named = {"new": "missing"}
        return ", ".join(f"{n} {named.get(status, status)}" for status, n in self.counts.items())


class Failure(NamedTuple):
    """Failed trial, with the path of its log; empty if there is no log here."""

    trial: str
    arm: str
    seed: str
    log: str


class FailureGroup(NamedTuple):
    """Failures with the same cause.

    Attributes:
        cause: Cause of the first one.
        count: Number of failed trials.
        failures: Some of the trials.
    """

    cause: str
    count: int
    failures: Sequence[Failure]


def read_plans(workdirs: Sequence[str], frame: pd.DataFrame) -> dict[str, Plan]:
    """Read the plans of those workdirs that have one.

    Args:
        workdirs: Workdirs of sweeps, and other sources of results.
        frame: Results loaded from them. The plans get the names that sweeps have in it.

    Returns:
        Plans by workdir.

    Raises:
        UserError: If a plan is broken.
    """
    plans = {}
    for workdir in workdirs:
        if (epath.Path(workdir) / "plan.json").exists():
            plan = SweepWorkdir(workdir).read_plan()
            apart = load.name_with_workdir(plan.name, workdir, workdirs)
            plans[workdir] = plan._replace(name=apart) if apart in set(frame["sweep"]) else plan
    return plans


def sweep_designs(frame: pd.DataFrame, plans: Mapping[str, Plan]) -> list[Design]:
    """Return the designs of the sweeps in a data frame, in its order.

    Args:
        frame: Results with the columns of `columns`. They replace a missing plan.
        plans: Plans by workdir.
    """
    by_name = {plan.name: plan for plan in plans.values()}
    return [_sweep_design(name, trials, by_name.get(name))
            for name, trials in frame.groupby("sweep", sort=False)]


def group_failures(frame: pd.DataFrame) -> list[FailureGroup]:
    """Return the failed trials of a data frame grouped by cause, the largest group first."""
    failed = frame[frame["status"] == "failed"]
    groups = status_rows.group_failures(
        TrialRow(row.trial, row.arm, row.seed, "failed", cause=row.cause, log=row.folder)
        for row in failed[["trial", "arm", "seed", "cause", "folder"]].itertuples(index=False))
    return [
        FailureGroup(
            group[0].cause or "unknown cause", len(group),
            [Failure(row.id, row.arm, str(row.seed), _log_path(row.log))
             for row in group[:_MAX_NAMED_FAILURES]])
        for group in groups]


def _sweep_design(name: str, trials: pd.DataFrame, plan: Plan | None) -> Design:
    baselines = trials.loc[trials["baseline"].fillna(False), "arm"]
    levels = {axis: list(trials[axis].dropna().unique()) for axis in columns.axes(trials)}
    statuses = trials["status"].value_counts()
    return Design(
        name=name,
        question=plan.question.strip() if plan else "",
        axes=plan.axes if plan else {axis: found for axis, found in levels.items() if found},
        baseline=baselines.iloc[0] if len(baselines) else "",
        arms=trials["arm"].nunique(),
        seeds=sorted(int(seed) for seed in trials["seed"].dropna().unique()),
        counts={s: int(statuses[s]) for s in columns.STATUSES if s in statuses},
    )


def _log_path(folder: str) -> str:
    """Return the log of a trial's latest attempt; empty if there is none here."""
    last = trial_status.read_status(folder).attempt if folder else None
    return attempt.log_name(folder, last.role, last.number) if last else ""
