"""The two sides of a comparison: arms, or single trials, and which seeds they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results import arms
from deepmac_ablate.results.arms import ArmTrials

Trials = Mapping[int, Mapping[str, Any]]


class Sides(NamedTuple):
    """Two arms, or trials, that are compared.

    Attributes:
        a: What the first one is called.
        b: What the second one is called.
        trials_a: Its finished trials by seed, rows of the data frame.
        trials_b: Those of the second.
        paired: Whether both have the same seeds, so that trials of a seed are compared.
        left_out: Seeds that only one side has, where there are others that both have.
        others: Ids of trials that are called like one of the arms but are not of it, see
            `arms.Arms.left_out`.
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
        """The trials of both."""
        return [*self.trials_a.values(), *self.trials_b.values()]


def choose(frame: pd.DataFrame, a: str, b: str) -> Sides:
    """Return the sides that are named.

    Args:
        frame: The results, see `columns`.
        a: Label of an arm, or id of a trial.
        b: The other one.

    Raises:
        UserError: If there is no such arm or trial, nothing of it has finished, its files are not
            at hand, both are one, or they were evaluated on different datasets.
    """
    if a == b:
        raise UserError(f"Both sides are {a!r}; name two different arms or trials.")
    known = arms.of(frame)
    trials_a, trials_b = (_trials(frame, known.arms, name) for name in (a, b))
    shared = sorted(trials_a.keys() & trials_b.keys())
    left_out: tuple[int, ...] = ()
    if shared:
        left_out = tuple(sorted(trials_a.keys() ^ trials_b.keys()))
        trials_a, trials_b = ({seed: it[seed] for seed in shared} for it in (trials_a, trials_b))
    namesakes = frame[frame["trial"].isin(known.left_out) & frame["arm"].isin(
        {arm.arm for arm in known.arms if arm.label in (a, b)})]
    sides = Sides(a, b, trials_a, trials_b, bool(shared), left_out, tuple(namesakes["trial"]))
    datasets = Counter(row["dataset"] for row in sides.trials if row["dataset"])
    if len(datasets) > 1:
        raise UserError(
            f"{a!r} and {b!r} were evaluated on different datasets, {' and '.join(datasets)}; "
            "only numbers on the same images can be compared.")
    return sides


def _trials(
    frame: pd.DataFrame, known: Sequence[ArmTrials], name: str
) -> dict[int, Mapping[str, Any]]:
    """Return the finished trials of an arm, or one trial, by seed."""
    rows = [row for arm in known if name == arm.label for row in arm.trials]
    if not rows:
        # Two sweeps may have an arm of one label, and then that is no name.
        chosen = frame[frame["trial"] == name].drop_duplicates("trial")
        rows = chosen.astype(object).where(chosen.notna(), None).to_dict("records")
    if not rows:
        labels = [arm.label for arm in known]
        suggestion = did_you_mean(name, [*labels, *frame["trial"]])
        raise UserError(
            f"There is no arm or trial {name!r}.{suggestion} Arms are {', '.join(labels)}.")
    finished = [row for row in rows if row["status"] == "finished"]
    if not finished:
        statuses = Counter(row["status"] for row in rows)
        there = ", ".join(f"{n} {status}" for status, n in statuses.items())
        raise UserError(f"No trial of {name!r} has finished ({there}), so there is no number yet.")
    if absent := [row["trial"] for row in finished if not row["folder"]]:
        raise UserError(
            f"The files of trial {absent[0]} of {name!r} are not at hand; a comparison needs the "
            "workdir, not only numbers from W&B.")
    return {row["seed"] or 0: row for row in finished}
