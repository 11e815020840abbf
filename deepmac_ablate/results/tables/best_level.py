"""The best level of an axis for each arm, such as a learning rate that suits each mask head.

It is chosen on seen classes alone. A choice on novel classes would use masks that no one has who
trains without them, and would flatter whatever has the most levels to choose from.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

import pandas as pd

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results import columns
from deepmac_ablate.results.arms import ArmTrials, group_by_arm
from deepmac_ablate.results.tables.retention import ClassMetrics


class BestLevels(NamedTuple):
    """The arms that have the best level of an axis, one for each combination of other levels.

    Attributes:
        axis: The axis.
        metric: The metric that decided, as `<box source>/<metric>`, on seen classes.
        kept: Labels of the chosen arms.
        baselines: Labels of those that take the place of a sweep's baseline.
        candidates: The number of arms from which they were chosen.
        untrained: Labels of arms that could not be chosen, as no trial of theirs has the metric.
        fewer_seeds: Labels of arms with fewer seeds than those that they were compared with.
    """

    axis: str
    metric: str
    kept: frozenset[str]
    baselines: frozenset[str]
    candidates: int
    untrained: tuple[str, ...]
    fewer_seeds: tuple[str, ...]

    def apply(self, arms: list[ArmTrials]) -> list[ArmTrials]:
        """Return the chosen arms, with the baseline of each sweep among them."""
        return [
            arm._replace(baseline=arm.label in self.baselines) for arm in arms
            if arm.label in self.kept]


def best_levels(
    frame: pd.DataFrame, axis: str, metric: str = "groundtruth/iou",
    per_class: pd.DataFrame | None = None,
) -> BestLevels:
    """Choose the level of an axis with the highest mean over seeds on the seen classes.

    Args:
        frame: The frame from `results.load`, whose seen classes are those of training.
        axis: The axis. Arms that differ in nothing else are compared.
        metric: The metric, as `<box source>/<metric>`.
        per_class: The frame from `results.per_class`, to check that arms which are compared have
            the same seen classes.

    Raises:
        UserError: If there is no such axis or metric, the metric names other classes, the levels of
            the axis differ in their seen classes, or no trial has the metric.
    """
    axes = columns.axes(frame)
    if axis not in axes:
        raise UserError(
            f"There is no axis {axis!r} to choose from.{did_you_mean(axis, axes)} Axes are "
            f"{', '.join(axes) or 'missing: these trials belong to no sweep'}.")
    if metric.count("/") != 1:
        raise UserError(
            f"The best level of an axis is chosen on seen classes: write <box source>/<metric> "
            f"such as groundtruth/iou, got {metric!r}.")
    column, by_class = f"{metric}/seen", ClassMetrics(per_class)
    groups: dict[tuple[str | None, ...], list[ArmTrials]] = {}
    for arm in group_by_arm(frame).arms:
        others = [level for name, level in arm.levels.items() if name != axis]
        groups.setdefault((arm.sweep, *others), []).append(arm)
    kept, baselines = set(), set()
    untrained, fewer_seeds = [], []
    for group in groups.values():
        values = {arm.label: arm.values_by_seed(column) for arm in group}
        trained = [arm for arm in group if values[arm.label]]
        untrained += [arm.label for arm in group if not values[arm.label]]
        if not trained:
            continue
        novel = {by_class.novel_ids(arm) for arm in trained} - {None}
        if len(novel) > 1:
            raise UserError(
                f"The levels of {axis} have different seen classes ({', '.join(values)}), so that "
                "none of them is the best on seen classes.")
        most = max(len(values[arm.label]) for arm in trained)
        fewer_seeds += [arm.label for arm in trained if len(values[arm.label]) < most]
        best = max(trained, key=lambda arm: statistics.fmean(values[arm.label].values()))
        kept.add(best.label)
        if any(arm.baseline for arm in group):
            baselines.add(best.label)
    if not kept:
        raise UserError(f"No finished trial has {column}, so that no level of {axis} is the best.")
    return BestLevels(
        axis, metric, frozenset(kept), frozenset(baselines), sum(map(len, groups.values())),
        tuple(untrained), tuple(fewer_seeds))
