"""The table of a sweep: a row per arm, with means over seeds and differences to the baseline."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from deepmac_ablate import class_splits
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results import arms as grouping
from deepmac_ablate.results import columns
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.statistics import (
    Difference,
    Interval,
    check_confidence,
    holm,
    mean_interval,
    paired_difference,
)
from deepmac_ablate.results.tables import retention
from deepmac_ablate.results.tables.retention import ClassNumbers

CLASSES = ("novel", "seen")

# Masks in ground-truth boxes, where no detector takes part, and the number of the paper.
DEFAULT_METRICS = ("groundtruth/iou", "detections/mask_ap")


class Score(NamedTuple):
    """A metric on an arm's novel or seen classes.

    Attributes:
        value: Over the finished seeds that have it, in [0, 1].
        difference: To the baseline, by seed; None for the baseline itself, or where there is none.
        p_holm: The difference's p, corrected for all differences of the table.
    """

    value: Interval
    difference: Difference | None
    p_holm: float | None = None


class Scores(NamedTuple):
    """What a metric says of an arm.

    Attributes:
        novel: On classes that were trained without masks.
        seen: On classes that were trained with them.
        gap: Seen minus novel, within each seed.
        retention: The novel classes' mean over the same classes' in the `all` arm, by seed.
    """

    novel: Score
    seen: Score
    gap: Interval
    retention: Interval


class Row(NamedTuple):
    """An arm.

    Attributes:
        arm: Its trials, and what it is called.
        baseline: Whether the table's differences are to it.
        against: The label of the arm that its differences are to; None where there is none, or
            where that has other novel classes, so that there is nothing to subtract.
        all_arm: The label of the `all` arm of its retention; None where there is none.
        relative_gmacs: Its training's multiply-adds over the baseline's; None where not known.
        train_seconds: Mean over the finished trials where it is known; else None.
        scores: By metric.
    """

    arm: ArmTrials
    baseline: bool
    against: str | None
    all_arm: str | None
    relative_gmacs: float | None
    train_seconds: float | None
    scores: Mapping[str, Scores]


class Table(NamedTuple):
    """The arms of a data frame, compared.

    Attributes:
        rows: One per arm, in order of first appearance.
        metrics: `<reading>/<metric>`, in order.
        confidence: Of all intervals.
        comparisons: How many p values Holm's correction counts.
        left_out: Ids of trials that belong to no arm: see `arms.Arms`.
        novel: Ids of the novel classes of each arm's numbers, by label, where they are known.
        split: The class split in place of the trials' own; None: as the trials.
    """

    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    confidence: float
    comparisons: int
    left_out: tuple[str, ...]
    novel: Mapping[str, frozenset[int]]
    split: class_splits.Split


def arm_table(
    frame: pd.DataFrame,
    metrics: Sequence[str] = (),
    confidence: float = 0.95,
    per_class: pd.DataFrame | None = None,
    baseline: str | None = None,
    split: class_splits.Split = None,
) -> Table:
    """Compare the arms of a data frame.

    Args:
        frame: From `results.load`, or of a split from `results.with_split`.
        metrics: `<reading>/<metric>`; by default those of `DEFAULT_METRICS` that there are.
        confidence: Of the intervals, in (0, 1).
        per_class: From `results.per_class`; without it there is no retention.
        baseline: The label of the arm to compare all others with; by default each sweep's own.
        split: The one that `frame` was made for; None: the trials' own. It needs `per_class`.

    Raises:
        UserError: If a metric or the baseline is not there, or the confidence is no share.
    """
    check_confidence(confidence)
    chosen = tuple(checked_metrics(frame, metrics) if metrics else default_metrics(frame))
    arms, left_out = grouping.of(frame)
    maker = _RowMaker(arms, chosen, confidence, ClassNumbers(per_class), baseline)
    if split is not None:
        maker.novel = dict.fromkeys(maker.novel, _novel_of_split(split, per_class))
    rows, comparisons = _corrected([maker.row(arm) for arm in arms])
    return Table(
        tuple(rows), chosen, confidence, comparisons, tuple(left_out), maker.novel, split)


def known_metrics(frame: pd.DataFrame) -> list[str]:
    """Return the metrics `<reading>/<metric>` that a data frame has for novel or seen classes."""
    found = [name.split("/") for name in columns.metrics(frame)]
    return list(dict.fromkeys(
        f"{parts[0]}/{parts[1]}" for parts in found if len(parts) == 3 and parts[2] in CLASSES))


def default_metrics(
    frame: pd.DataFrame, wanted: Sequence[str] = DEFAULT_METRICS
) -> list[str]:
    """Return those of the wanted metrics that a data frame has."""
    known = known_metrics(frame)
    return [metric for metric in wanted if metric in known]


def checked_metrics(frame: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """Return metrics, each once.

    Raises:
        UserError: If one is not there. Before anything has finished, nobody knows which there are.
    """
    known = known_metrics(frame)
    for metric in metrics:
        if known and metric not in known:
            raise UserError(
                f"No trial has a metric {metric!r}.{did_you_mean(metric, known)} Known are "
                f"{', '.join(known)}.")
    return list(dict.fromkeys(metrics))


class _RowMaker:
    """Makes the rows of a table, without Holm's correction, which needs them all."""

    def __init__(
        self,
        arms: Sequence[ArmTrials],
        metrics: Sequence[str],
        confidence: float,
        numbers: ClassNumbers,
        baseline: str | None,
    ) -> None:
        self._confidence = confidence
        self._baselines = _baselines(arms, baseline)
        self._by_class = {metric: numbers.of(metric) for metric in metrics}
        self.novel = {
            arm.label: novel for arm in arms if (novel := numbers.novel(arm)) is not None}
        # By training, whatever split the numbers are for.
        self._full = [arm for arm in arms if self.novel.get(arm.label) == frozenset()]
        self._partial = {label for label, novel in self.novel.items() if novel}

    def row(self, arm: ArmTrials) -> Row:
        base = self._baselines.get(arm.sweep)
        against = None if base is arm else base
        if against and not same_classes(self.novel, (arm.label, against.label)):
            against = None
        full = retention.oracle(arm, self._full) if arm.label in self._partial else None
        gmacs = [it.known("training_gmacs") for it in (arm, base) if it is not None]
        seconds = [row["train_seconds"] for row in arm.finished if row["train_seconds"] is not None]
        return Row(
            arm, base is arm, against.label if against else None, full.label if full else None,
            gmacs[0][0] / gmacs[1][0] if len(gmacs) == 2 and all(gmacs) else None,
            statistics.fmean(seconds) if seconds else None,
            {metric: self._scores(arm, against, full, metric) for metric in self._by_class})

    def _scores(
        self, arm: ArmTrials, against: ArmTrials | None, full: ArmTrials | None, metric: str
    ) -> Scores:
        novel, seen = (arm.by_seed(f"{metric}/{classes}") for classes in CLASSES)
        shares = {} if full is None else retention.by_seed(
            arm, full, self.novel[arm.label], self._by_class[metric])
        return Scores(
            self._score(novel, against, f"{metric}/novel"),
            self._score(seen, against, f"{metric}/seen"),
            self._interval({seed: seen[seed] - novel[seed] for seed in seen if seed in novel}),
            self._interval(shares))

    def _score(self, values: dict[int, float], against: ArmTrials | None, column: str) -> Score:
        difference = None if against is None else paired_difference(
            values, against.by_seed(column), self._confidence)
        return Score(self._interval(values), difference)

    def _interval(self, values: dict[int, float]) -> Interval:
        return mean_interval(list(values.values()), self._confidence)


def same_classes(novel: Mapping[str, frozenset[int]], labels: Iterable[str]) -> bool:
    """Whether novel and seen numbers of arms are about the same classes, as far as is known.

    Args:
        novel: Ids of the novel classes by the labels of arms.
        labels: Of the arms.
    """
    return len({novel[label] for label in labels if label in novel}) < 2


def _baselines(arms: Sequence[ArmTrials], label: str | None) -> dict[str, ArmTrials]:
    """Return the arm to compare with by the name of each sweep."""
    if label is None:
        return {arm.sweep: arm for arm in reversed(arms) if arm.baseline}
    named = [arm for arm in arms if label in (arm.label, arm.arm)]
    labels = [arm.label for arm in named or arms]
    if not named:
        raise UserError(
            f"There is no arm {label!r} to compare with.{did_you_mean(label, labels)} Arms are "
            f"{', '.join(labels)}.")
    if len(named) > 1:
        raise UserError(f"Several arms are called {label!r}: name one of {', '.join(labels)}.")
    return {arm.sweep: named[0] for arm in arms}


def _novel_of_split(split: class_splits.Split, per_class: pd.DataFrame | None) -> frozenset[int]:
    if per_class is None or per_class.empty:
        return frozenset()
    classes = per_class.drop_duplicates("category_id")
    categories = classes.rename(columns={"category_id": "id"})[["id", "name"]]
    roles = class_splits.roles(split, categories.itertuples())
    return frozenset(number for number, role in roles.items() if role == "novel")


def _corrected(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """Return the rows with Holm's correction over all their differences, and of how many."""
    places = [
        (number, metric, classes)
        for number, row in enumerate(rows) for metric in row.scores for classes in CLASSES]
    scores = [getattr(rows[number].scores[metric], classes) for number, metric, classes in places]
    p_values = [score.difference.p if score.difference else None for score in scores]
    made = [dict(row.scores) for row in rows]
    for (number, metric, classes), score, p in zip(places, scores, holm(p_values), strict=True):
        filled = {classes: score._replace(p_holm=p)}
        made[number][metric] = made[number][metric]._replace(**filled)
    done = [row._replace(scores=scores) for row, scores in zip(rows, made, strict=True)]
    return done, sum(p is not None for p in p_values)
