"""The two sides of a comparison, which are arms or single trials, and their common seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results.arms import ArmTrials, group_by_arm

Trials = Mapping[int, Mapping[str, Any]]


class Sides(NamedTuple):
    """Two arms or trials that are compared.

    Attributes:
        a: The name of the first side.
        b: The name of the second side.
        trials_a: The finished trials of the first side by seed, as rows of the data frame.
        trials_b: The finished trials of the second side.
        paired: True if trials are compared seed by seed, because the sides share seeds.
        left_out: Seeds that were dropped because only one side has them.
        others: Ids of trials with the label of an arm that do not fit it, see `arms.Arms`.
    """

    a: str
    b: str
    trials_a: Trials
    trials_b: Trials
    paired: bool
    left_out: tuple[int, ...]
    others: tuple[str, ...]

    @property
    def trials(self) -> list[Mapping[str, Any]]:
        """The trials of both sides."""
        return [*self.trials_a.values(), *self.trials_b.values()]


def pair_sides(frame: pd.DataFrame, a: str, b: str) -> Sides:
    """Return the trials of two sides, paired by seed if they share seeds.

    Args:
        frame: The results, see `columns`.
        a: The label of an arm or the id of a trial.
        b: The label of another arm or the id of another trial.

    Raises:
        UserError: If a side does not exist, has no finished trial or no files, both sides are the
            same, or they were evaluated on different datasets.
    """
    if a == b:
        raise UserError(f"Both sides are {a!r}; pass two different arms or trials.")
    known = group_by_arm(frame)
    trials_a, trials_b = (_trials_by_seed(frame, known.arms, name) for name in (a, b))
    shared = sorted(trials_a.keys() & trials_b.keys())
    left_out: tuple[int, ...] = ()
    if shared:
        left_out = tuple(sorted(trials_a.keys() ^ trials_b.keys()))
        trials_a, trials_b = (
            {seed: trials[seed] for seed in shared} for trials in (trials_a, trials_b))
    namesakes = frame[frame["trial"].isin(known.left_out) & frame["arm"].isin(
        {arm.arm for arm in known.arms if arm.label in (a, b)})]
    sides = Sides(a, b, trials_a, trials_b, bool(shared), left_out, tuple(namesakes["trial"]))
    datasets = Counter(row["dataset"] for row in sides.trials if row["dataset"])
    if len(datasets) > 1:
        raise UserError(
            f"{a!r} and {b!r} were evaluated on different datasets ({', '.join(datasets)}); "
            "only metrics on the same images can be compared.")
    return sides


def _trials_by_seed(
    frame: pd.DataFrame, known: Sequence[ArmTrials], name: str
) -> dict[int, Mapping[str, Any]]:
    """Return the finished trials of an arm, or a single trial, by seed."""
    rows = [row for arm in known if name == arm.label for row in arm.trials]
    if not rows:
        chosen = frame[frame["trial"] == name].drop_duplicates("trial")
        rows = chosen.astype(object).where(chosen.notna(), None).to_dict("records")
    if not rows:
        labels = [arm.label for arm in known]
        suggestion = did_you_mean(name, [*labels, *frame["trial"]])
        raise UserError(
            f"There is no arm or trial {name!r}.{suggestion} Known arms are {', '.join(labels)}.")
    finished = [row for row in rows if row["status"] == "finished"]
    if not finished:
        statuses = Counter(row["status"] for row in rows)
        counts = ", ".join(f"{n} {status}" for status, n in statuses.items())
        raise UserError(f"No trial of {name!r} has finished yet ({counts}).")
    if absent := [row["trial"] for row in finished if not row["folder"]]:
        raise UserError(
            f"The files of trial {absent[0]} of {name!r} are not available; a comparison needs the "
            "workdir, W&B alone is not enough.")
    return {row["seed"] or 0: row for row in finished}
