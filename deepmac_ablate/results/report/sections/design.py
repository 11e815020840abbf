"""What was asked, with which arms, and how far it got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from etils import epath

from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.results import columns
from deepmac_ablate.results.loading import load
from deepmac_ablate.sweep.plan import Plan


class Design(NamedTuple):
    """One sweep.

    Attributes:
        name: Of the sweep; empty for trials that were trained without one.
        question: What it asks; empty where that is not known.
        axes: The names of the levels by the name of the axis.
        baseline: The arm to compare with; empty where there is none.
        arms: How many.
        seeds: All that occur, in order.
        counts: How many trials there are of each status that occurs.
    """

    name: str
    question: str
    axes: Mapping[str, Sequence[str]]
    baseline: str
    arms: int
    seeds: Sequence[int]
    counts: Mapping[str, int]

    def progress(self) -> str:
        """Return how many trials there are of each status, a new one being missing."""
        named = {"new": "missing"}
        return ", ".join(f"{n} {named.get(status, status)}" for status, n in self.counts.items())


def plans(workdirs: Sequence[str], frame: pd.DataFrame) -> dict[str, Plan]:
    """Return the plans of the workdirs that hold one, by workdir.

    Args:
        workdirs: Of the sweeps.
        frame: What `results.load` returned of them; plans have the names that sweeps have there.

    Raises:
        UserError: If one is broken.
    """
    known = {}
    for workdir in workdirs:
        if (epath.Path(workdir) / "plan.json").exists():
            plan = SweepWorkdir(workdir).read_plan()
            apart = load.name_with_workdir(plan.name, workdir, workdirs)
            known[workdir] = plan._replace(name=apart) if apart in set(frame["sweep"]) else plan
    return known


def designs(frame: pd.DataFrame, known: Mapping[str, Plan]) -> list[Design]:
    """Return the sweeps of a data frame, in its order; what no plan says is read off the trials.

    Args:
        frame: As `columns` says.
        known: Plans by workdir.
    """
    by_name = {plan.name: plan for plan in known.values()}
    return [_design(name, trials, by_name.get(name))
            for name, trials in frame.groupby("sweep", sort=False)]


def _design(name: str, trials: pd.DataFrame, plan: Plan | None) -> Design:
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
