"""Comparison of all arms of a sweep: means over seeds and differences to the baseline."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from deepmac_ablate import class_splits
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results import columns
from deepmac_ablate.results.arms import ArmTrials, group_by_arm
from deepmac_ablate.results.statistics import (
    Difference,
    Interval,
    check_confidence,
    holm,
    mean_interval,
    paired_difference,
)
from deepmac_ablate.results.tables.best_level import BestLevels
from deepmac_ablate.results.tables.references import Reference, find_references
from deepmac_ablate.results.tables.retention import (
    ClassMetrics,
    find_all_arm,
    retention_by_seed,
)

CLASSES = ("novel", "seen")

# Mask IoU in ground-truth boxes, independent of the detector, and the usual metric of papers.
DEFAULT_METRICS = ("groundtruth/iou", "detections/mask_ap")


class Score(NamedTuple):
    """A metric on the novel or the seen classes of an arm.

    Attributes:
        value: The mean over the finished seeds that have the metric, in [0, 1].
        difference: The difference to the baseline, paired by seed; None for the baseline itself, or
            if there is none.
        p_holm: The p value of the difference, corrected for all differences of the table.
    """

    value: Interval
    difference: Difference | None
    p_holm: float | None = None


class Scores(NamedTuple):
    """A metric of an arm.

    Attributes:
        novel: The metric on classes trained without masks.
        seen: The metric on classes trained with masks.
        gap: Seen minus novel, within each seed.
        retention: Mean over novel classes by that over the same classes in the `all` arm.
    """

    novel: Score
    seen: Score
    gap: Interval
    retention: Interval


class Row(NamedTuple):
    """The row of an arm.

    Attributes:
        arm: The arm and its trials.
        baseline: True if the arm is the baseline of the table's differences.
        against: The label of the arm to which its differences are; None if there is none.
        apart: True if there is none because the baseline has different novel classes.
        all_arm: The label of the `all` arm of its retention; None if there is none.
        relative_gmacs: The multiply-adds of its training by the baseline's; None if unknown.
        train_seconds: The mean training time of its finished trials in seconds; None if unknown.
        scores: The scores by metric.
    """

    arm: ArmTrials
    baseline: bool
    against: str | None
    apart: bool
    all_arm: str | None
    relative_gmacs: float | None
    train_seconds: float | None
    scores: Mapping[str, Scores]


class Table(NamedTuple):
    """The arms of a data frame, compared.

    Attributes:
        rows: One row per arm, in order of first appearance.
        metrics: The metrics as `<box source>/<metric>`, in order.
        confidence: The confidence of all intervals, in (0, 1).
        comparisons: The number of p values that Holm's correction counts.
        left_out: Ids of trials that fit no arm, see `arms.Arms`.
        novel: Ids of the novel classes of each arm by its label, if known.
        split: The class split of the metrics; None means the trials' own splits.
        references: Floors and ceiling of each metric that has them, which is mask IoU.
        order: The column that the rows are sorted by, and the direction; empty if they are not.
        hidden: Labels of arms that have no row, although the statistics count them.
        best: The choice of levels that the rows are limited to; None for all arms.
    """

    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    confidence: float
    comparisons: int
    left_out: tuple[str, ...]
    novel: Mapping[str, frozenset[int]]
    split: class_splits.Split
    references: Mapping[str, tuple[Reference, ...]]
    order: str = ""
    hidden: tuple[str, ...] = ()
    best: BestLevels | None = None

    @property
    def sweeps(self) -> list[str]:
        """The names of the sweeps of its rows, in order of first appearance."""
        return list(dict.fromkeys(row.arm.sweep for row in self.rows))


def arm_table(
    frame: pd.DataFrame,
    metrics: Sequence[str] = (),
    confidence: float = 0.95,
    per_class: pd.DataFrame | None = None,
    baseline: str | None = None,
    split: class_splits.Split = None,
    best: BestLevels | None = None,
) -> Table:
    """Compare the arms of a data frame.

    Args:
        frame: The frame from `results.load` or `results.with_split`.
        metrics: Metrics as `<box source>/<metric>`; by default those of `DEFAULT_METRICS` that the
            frame has.
        confidence: The confidence of the intervals, in (0, 1).
        per_class: The frame from `results.per_class`; without it there is no retention.
        baseline: The label of the arm to compare all others with; by default each sweep's own
            baseline.
        split: The split that was given to `results.with_split`; None means the trials' own splits.
            It needs `per_class`.
        best: The result of `best_levels`, to compare only the arms that it has chosen.

    Raises:
        UserError: If a metric or the baseline does not exist, or the confidence is not in (0, 1).
    """
    check_confidence(confidence)
    chosen = tuple(checked_metrics(frame, metrics) if metrics else default_metrics(frame))
    arms, left_out = group_by_arm(frame)
    arms = best.apply(arms) if best else arms
    builder = _RowBuilder(arms, chosen, confidence, ClassMetrics(per_class), baseline)
    if split is not None:
        builder.novel = dict.fromkeys(builder.novel, _novel_classes(split, per_class))
    rows, comparisons = _with_holm([builder.build_row(arm) for arm in arms])
    return Table(
        tuple(rows), chosen, confidence, comparisons, tuple(left_out), builder.novel, split,
        {metric: find_references(arms, metric) for metric in chosen}, best=best)


def known_metrics(frame: pd.DataFrame) -> list[str]:
    """Return the metrics as `<box source>/<metric>` that exist for novel or seen classes."""
    found = [name.split("/") for name in columns.metrics(frame)]
    return list(dict.fromkeys(
        f"{parts[0]}/{parts[1]}" for parts in found if len(parts) == 3 and parts[2] in CLASSES))


def default_metrics(
    frame: pd.DataFrame, wanted: Sequence[str] = DEFAULT_METRICS
) -> list[str]:
    """Return the wanted metrics that a data frame has."""
    known = known_metrics(frame)
    return [metric for metric in wanted if metric in known]


def checked_metrics(frame: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """Return metrics without duplicates.

    Raises:
        UserError: If a metric does not exist. Before a trial has finished, every name is accepted.
    """
    known = known_metrics(frame)
    for metric in metrics:
        if known and metric not in known:
            raise UserError(
                f"No trial has a metric {metric!r}.{did_you_mean(metric, known)} Known are "
                f"{', '.join(known)}.")
    return list(dict.fromkeys(metrics))


class _RowBuilder:
    """Builder of table rows, without Holm's correction, which needs all rows."""

    def __init__(
        self,
        arms: Sequence[ArmTrials],
        metrics: Sequence[str],
        confidence: float,
        by_class: ClassMetrics,
        baseline: str | None,
    ) -> None:
        self._confidence = confidence
        self._baselines = _baselines(arms, baseline)
        self._by_class = {metric: by_class.metric_table(metric) for metric in metrics}
        self.novel = {
            arm.label: novel for arm in arms if (novel := by_class.novel_ids(arm)) is not None}
        # By the classes trained without masks, even if the metrics use another split.
        self._all_arms = [arm for arm in arms if self.novel.get(arm.label) == frozenset()]
        self._partial = {label for label, novel in self.novel.items() if novel}

    def build_row(self, arm: ArmTrials) -> Row:
        base = self._baselines.get(arm.sweep)
        against = None if base is arm else base
        apart = bool(against) and not _same_novel_classes(self.novel, (arm.label, against.label))
        if apart:
            against = None
        # The arms of its own sweep come first: those of others may differ in more than levels.
        own = [other for other in self._all_arms if other.sweep == arm.sweep]
        all_arm = None
        if arm.label in self._partial:
            all_arm = find_all_arm(arm, own or self._all_arms)
        gmacs = [side.known_values("training_gmacs") for side in (arm, base) if side is not None]
        seconds = [row["train_seconds"] for row in arm.finished if row["train_seconds"] is not None]
        return Row(
            arm, base is arm, against.label if against else None, apart,
            all_arm.label if all_arm else None,
            gmacs[0][0] / gmacs[1][0] if len(gmacs) == 2 and all(gmacs) else None,
            statistics.fmean(seconds) if seconds else None,
            {metric: self._scores(arm, against, all_arm, metric) for metric in self._by_class})

    def _scores(
        self, arm: ArmTrials, against: ArmTrials | None, all_arm: ArmTrials | None, metric: str
    ) -> Scores:
        novel, seen = (arm.values_by_seed(f"{metric}/{classes}") for classes in CLASSES)
        shares = {} if all_arm is None else retention_by_seed(
            arm, all_arm, self.novel[arm.label], self._by_class[metric])
        return Scores(
            self._score(novel, against, f"{metric}/novel"),
            self._score(seen, against, f"{metric}/seen"),
            self._interval({seed: seen[seed] - novel[seed] for seed in seen if seed in novel}),
            self._interval(shares))

    def _score(self, values: dict[int, float], against: ArmTrials | None, column: str) -> Score:
        difference = None if against is None else paired_difference(
            values, against.values_by_seed(column), self._confidence)
        return Score(self._interval(values), difference)

    def _interval(self, values: dict[int, float]) -> Interval:
        return mean_interval(list(values.values()), self._confidence)


def _same_novel_classes(novel: Mapping[str, frozenset[int]], labels: Iterable[str]) -> bool:
    """Return whether arms have the same novel classes, as far as these are known."""
    return len({novel[label] for label in labels if label in novel}) < 2


def _baselines(arms: Sequence[ArmTrials], label: str | None) -> dict[str, ArmTrials]:
    """Return the arm to compare with, by the name of each sweep."""
    if label is None:
        return {arm.sweep: arm for arm in reversed(arms) if arm.baseline}
    named = [arm for arm in arms if label in (arm.label, arm.arm)]
    labels = [arm.label for arm in named or arms]
    if not named:
        raise UserError(
            f"There is no arm {label!r} to compare with.{did_you_mean(label, labels)} Known are "
            f"{', '.join(labels)}.")
    if len(named) > 1:
        raise UserError(
            f"{label!r} is ambiguous; pass one of the labels {', '.join(labels)}.")
    return {arm.sweep: named[0] for arm in arms}


def _novel_classes(split: class_splits.Split, per_class: pd.DataFrame | None) -> frozenset[int]:
    if per_class is None or per_class.empty:
        return frozenset()
    classes = per_class.drop_duplicates("category_id")
    categories = classes.rename(columns={"category_id": "id"})[["id", "name"]]
    roles = class_splits.roles(split, categories.itertuples())
    return frozenset(number for number, role in roles.items() if role == "novel")


def _with_holm(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """Return the rows with Holm's correction over all differences, and the number of these."""
    places = [
        (number, metric, classes)
        for number, row in enumerate(rows) for metric in row.scores for classes in CLASSES]
    scores = [getattr(rows[number].scores[metric], classes) for number, metric, classes in places]
    p_values = [score.difference.p if score.difference else None for score in scores]
    corrected = [dict(row.scores) for row in rows]
    for (number, metric, classes), score, p in zip(places, scores, holm(p_values), strict=True):
        corrected[number][metric] = corrected[number][metric]._replace(
            **{classes: score._replace(p_holm=p)})
    return [
        row._replace(scores=scores) for row, scores in zip(rows, corrected, strict=True)
    ], sum(p is not None for p in p_values)
