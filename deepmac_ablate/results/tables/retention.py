"""Retention: the share of fully supervised performance that is kept on novel classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from deepmac_ablate.evaluation.metrics.summary import OVER_INSTANCES
from deepmac_ablate.results.arms import ArmTrials


class ClassMetrics:
    """Metrics of finished trials by class.

    Args:
        per_class: The frame from `results.per_class`; None if nothing is known by class.
    """

    def __init__(self, per_class: pd.DataFrame | None) -> None:
        self._rows = per_class
        # The roles do not depend on the box source, so one row per trial and class is enough.
        self._novel: dict[str, set[int]] = {}
        if per_class is not None:
            first = per_class.drop_duplicates(["trial", "category_id"])
            for trial, class_id, role in zip(
                    first["trial"], first["category_id"], first["role"], strict=True):
                novel = self._novel.setdefault(trial, set())
                if role == "novel":
                    novel.add(class_id)

    def novel_ids(self, arm: ArmTrials) -> frozenset[int] | None:
        """Return the ids of the classes that an arm was trained on without masks.

        Returns:
            The ids; None if they are unknown, or differ between its trials, as they do if class
            splits are pooled (`arms.pool`).
        """
        known = {
            frozenset(self._novel[row["trial"]]) for row in arm.finished
            if row["trial"] in self._novel}
        return next(iter(known)) if len(known) == 1 else None

    def metric_table(self, metric: str) -> pd.DataFrame:
        """Return a metric with one row per trial and one column per class id.

        Args:
            metric: The metric as `<box source>/<metric>`.

        Returns:
            The table; empty if the metric is not known by class, or is not a mean over classes.
        """
        box_source, _, name = metric.partition("/")
        if self._rows is None or name in OVER_INSTANCES or name not in self._rows:
            return pd.DataFrame()
        rows = self._rows[self._rows["reading"] == box_source]
        return rows.pivot(index="trial", columns="category_id", values=name).astype("Float64")


def find_all_arm(arm: ArmTrials, all_arms: Sequence[ArmTrials]) -> ArmTrials | None:
    """Return the fully supervised arm to compare an arm with.

    Args:
        arm: An arm with novel classes.
        all_arms: The arms that were trained with the masks of all classes.

    Returns:
        The only one that differs from the arm in the level of one axis, else the only one that
        exists; None if neither is unique.
    """
    near = [other for other in all_arms if arm.count_different_levels(other) == 1]
    if len(near) == 1:
        return near[0]
    return all_arms[0] if len(all_arms) == 1 else None


def retention_by_seed(
    arm: ArmTrials, all_arm: ArmTrials, novel: Collection[int], values: pd.DataFrame
) -> dict[int, float]:
    """Return an arm's mean over novel classes divided by that of the `all` arm, by seed.

    Args:
        arm: The arm with novel classes.
        all_arm: The fully supervised arm.
        novel: The ids of the novel classes; classes without a value in either arm are ignored.
        values: The table from `ClassMetrics.metric_table`.

    Returns:
        Shares for the seeds that both arms have, unless the mean of the `all` arm is zero.
    """
    trials_of_all = {row["seed"]: row["trial"] for row in all_arm.finished}
    shares = {}
    for row in arm.finished:
        pair = [row["trial"], trials_of_all.get(row["seed"])]
        if not set(pair) <= set(values.index):
            continue
        both = values.loc[pair, [class_id for class_id in values if class_id in novel]]
        both = both.dropna(axis="columns")
        mean, mean_of_all = both.mean(axis="columns")
        if len(both.columns) and mean_of_all > 0:
            shares[row["seed"]] = float(mean / mean_of_all)
    return shares
