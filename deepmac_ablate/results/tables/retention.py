"""What training without masks keeps: novel classes against the same classes fully supervised."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from deepmac_ablate.evaluation.metrics.summary import OVER_INSTANCES
from deepmac_ablate.results.arms import ArmTrials


class ClassNumbers:
    """The numbers by class of finished trials.

    Args:
        per_class: A row per trial, reading and class, with `trial`, `reading`, `category_id`,
            `name`, `role` and metrics; None where nothing is known by class.
    """

    def __init__(self, per_class: pd.DataFrame | None) -> None:
        self._rows = per_class
        # All readings of a trial agree on the roles.
        self._novel: dict[str, set[int]] = {}
        if per_class is not None:
            first = per_class.drop_duplicates(["trial", "category_id"])
            for trial, number, role in zip(
                    first["trial"], first["category_id"], first["role"], strict=True):
                novel = self._novel.setdefault(trial, set())
                if role == "novel":
                    novel.add(number)

    def novel(self, arm: ArmTrials) -> frozenset[int] | None:
        """Return the ids of an arm's novel classes in training; None where they are not known."""
        known = (self._novel[row["trial"]] for row in arm.finished if row["trial"] in self._novel)
        novel = next(known, None)
        return None if novel is None else frozenset(novel)

    def of(self, metric: str) -> pd.DataFrame:
        """Return a metric `<reading>/<name>`: a row per trial, a column per class id.

        It is empty where the metric is not there by class, or a mean over classes is not what it
        says about several.
        """
        reading, _, name = metric.partition("/")
        if self._rows is None or name in OVER_INSTANCES or name not in self._rows:
            return pd.DataFrame()
        rows = self._rows[self._rows["reading"] == reading]
        return rows.pivot(index="trial", columns="category_id", values=name).astype("Float64")


def oracle(arm: ArmTrials, full: Sequence[ArmTrials]) -> ArmTrials | None:
    """Return the `all` arm to set an arm beside.

    Args:
        arm: An arm with novel classes.
        full: The arms in whose trials every class is seen.

    Returns:
        The only one whose levels agree with the arm's on all axes but one, else the only one there
        is; None where there is no single one.
    """
    near = [other for other in full if arm.distance(other) == 1]
    if len(near) == 1:
        return near[0]
    return full[0] if len(full) == 1 else None


def by_seed(
    arm: ArmTrials, full: ArmTrials, novel: Collection[int], numbers: pd.DataFrame
) -> dict[int, float]:
    """Return the arm's mean over classes divided by the fully supervised one's, by seed.

    Args:
        arm: Whose share is asked for.
        full: The `all` arm.
        novel: Ids of the classes; those without a number on either side are left out on both.
        numbers: From `ClassNumbers.of`.

    Returns:
        For the seeds that both have; without those where the `all` arm has nothing but zeros.
    """
    of_full = {row["seed"]: row["trial"] for row in full.finished}
    shares = {}
    for row in arm.finished:
        pair = [row["trial"], of_full.get(row["seed"])]
        if not set(pair) <= set(numbers.index):
            continue
        both = numbers.loc[pair, [it for it in numbers if it in novel]].dropna(axis="columns")
        mean, mean_of_full = both.mean(axis="columns")
        if len(both.columns) and mean_of_full > 0:
            shares[row["seed"]] = float(mean / mean_of_full)
    return shares
