"""Effects of the levels of each axis of a sweep, and interactions between axes.

The effect of a level is the change of a metric when the level replaces the baseline level of its
axis and all other axes stay as they are. Let y(l, c, s) be the metric of the arm with level l and
the levels c of all other axes, trained with seed s. Then

    effect(l, s)         = mean over c of  y(l, c, s) - y(l0, c, s)
    interaction(l, m, s) = mean over c of  [y(l, m, c, s) - y(l0, m, c, s)]
                                         - [y(l, m0, c, s) - y(l0, m0, c, s)]

with the baseline levels l0 and m0, are contrasts of the cells of a factorial design in which each
seed is a block (Montgomery, Design and Analysis of Experiments, ch. 5; the interaction is the
difference of differences, twice that of the ±1 coding). Their intervals are t intervals over seeds.
In a one-at-a-time design the only c is that of the baseline, and an effect is a paired difference
to the baseline. Arms with different novel classes cannot be subtracted: an axis that changes which
classes have masks has effects only under a common class split (`results.with_split`).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from deepmac_ablate import class_splits
from deepmac_ablate.results.arms import ArmTrials, group_by_arm, image_notes
from deepmac_ablate.results.statistics import (
    Difference,
    check_confidence,
    detectable_difference,
    holm,
    mean_difference,
    seeds_needed,
)
from deepmac_ablate.results.tables.arm_table import CLASSES, checked_metrics
from deepmac_ablate.results.tables.retention import ClassMetrics

# The power of the tests in `Effect.detectable` and `Effect.seeds_needed`.
POWER = 0.8

# Levels of all axes of an arm, in the order of the axes.
_Cell = tuple[str | None, ...]
_Values = Mapping[_Cell, Mapping[int, float]]


class Change(NamedTuple):
    """A change of an axis from the baseline level to another.

    Attributes:
        axis: The axis's column in the data frame.
        level: The new level.
        against: The baseline level.
    """

    axis: str
    level: str | None
    against: str | None


class Effect(NamedTuple):
    """The effect of a change on a metric, or the interaction of two changes.

    Attributes:
        changes: One change, or two for an interaction.
        on: The classes of the metric: "novel" or "seen".
        difference: The effect over seeds, as a fraction.
        combinations: The number of combinations of the other axes' levels that it is a mean over.
        p_holm: The p value, corrected for the number of effects, or of interactions.
        detectable: The smallest true difference that this number of seeds detects at `POWER`,
            without correction; None for fewer than two seeds.
        seeds_needed: The number of seeds that detect a difference of the observed size; None for
            fewer than two seeds, or if it is above `statistics.MOST_SEEDS`.
    """

    changes: tuple[Change, ...]
    on: str
    difference: Difference
    combinations: int
    p_holm: float | None = None
    detectable: float | None = None
    seeds_needed: int | None = None


class Effects(NamedTuple):
    """All effects in a sweep.

    Attributes:
        metric: The metric as `<box source>/<metric>`.
        confidence: The confidence of the intervals, in (0, 1).
        design: "one at a time", "grid" or "incomplete grid".
        rows: The effects of single changes, axis by axis.
        interactions: The interactions of pairs of changes.
        missing: The number of cells of the grid without a finished trial.
        left_out: Ids of trials of other sweeps and of trials that fit no arm, see `arms.Arms`.
        apart: True if some arms have different novel classes.
        split: The class split of the metric; None means the trials' own splits.
        image_notes: See `arms.image_notes`.
    """

    metric: str
    confidence: float
    design: str
    rows: tuple[Effect, ...]
    interactions: tuple[Effect, ...]
    missing: int
    left_out: tuple[str, ...]
    apart: bool
    split: class_splits.Split
    image_notes: tuple[str, ...] = ()


def axis_effects(
    frame: pd.DataFrame,
    metric: str = "groundtruth/iou",
    confidence: float = 0.95,
    per_class: pd.DataFrame | None = None,
    split: class_splits.Split = None,
) -> Effects:
    """Return the effects of each axis of a sweep on novel and seen classes.

    Args:
        frame: The frame from `results.load` or `results.with_split`; of several sweeps, only the
            first is used.
        metric: The metric as `<box source>/<metric>`.
        confidence: The confidence of the intervals, in (0, 1); 1 - confidence is the significance
            level of the tests.
        per_class: The frame from `results.per_class`, for the novel classes of each arm; None means
            that they are the same in all arms.
        split: The split that was given to `results.with_split`; None means the trials' own splits.

    Raises:
        UserError: If the metric does not exist, or the confidence is not in (0, 1).
    """
    check_confidence(confidence)
    checked_metrics(frame, [metric])
    arms, left_out = group_by_arm(frame)
    own = [arm for arm in arms if arm.sweep == arms[0].sweep]
    others = [
        row["trial"] for arm in arms if arm.sweep != own[0].sweep for row in arm.trials]
    axes = list(own[0].levels) if own else []
    base = next((arm for arm in own if arm.baseline), own[0] if own else None)
    single = [
        (Change(axis, level, base.levels[axis]),)
        for axis in axes for level in _levels(own, axis) if level != base.levels[axis]]
    pairs = [
        first + second for first, second in itertools.combinations(single, 2)
        if first[0].axis != second[0].axis]
    values = {on: _values(own, f"{metric}/{on}") for on in CLASSES}
    by_class = ClassMetrics(per_class if split is None else None)
    novel = {tuple(arm.levels.values()): by_class.novel_ids(arm) for arm in own}
    effects, interactions = (
        _with_tests([
            _effect(changes, axes, values[on], on, novel, confidence)
            for changes in of_kind for on in CLASSES], 1 - confidence)
        for of_kind in (single, pairs))
    # Without the pairs that no arm combines.
    interactions = tuple(effect for effect in interactions if effect.combinations)
    design, missing = _design(own, axes, base)
    return Effects(
        metric, confidence, design, effects, interactions, missing, (*others, *left_out),
        not _same_novel_classes(novel, novel), split,
        tuple(image_notes(row for arm in own for row in arm.finished)))


def _levels(arms: Iterable[ArmTrials], axis: str) -> list[str | None]:
    return list(dict.fromkeys(arm.levels[axis] for arm in arms))


def _values(arms: Iterable[ArmTrials], column: str) -> dict[_Cell, dict[int, float]]:
    """Return a metric by cell and seed, without the cells that lack it."""
    return {
        tuple(arm.levels.values()): values
        for arm in arms if (values := arm.values_by_seed(column))}


def _same_novel_classes(
    novel: Mapping[_Cell, frozenset[int] | None], cells: Iterable[_Cell]
) -> bool:
    """Return whether cells have the same novel classes, as far as these are known."""
    return len({novel[cell] for cell in cells} - {None}) < 2


def _effect(
    changes: tuple[Change, ...],
    axes: Sequence[str],
    values: _Values,
    on: str,
    novel: Mapping[_Cell, frozenset[int] | None],
    confidence: float,
) -> Effect:
    """Return the contrast of one or two changes."""
    changed = [axes.index(change.axis) for change in changes]
    # The two or four cells of a contrast, and their signs.
    corners = list(itertools.product(*(((c.level, 1), (c.against, -1)) for c in changes)))
    groups = []
    for rest in dict.fromkeys(_remove_places(cell, changed) for cell in values):
        cells = [_insert_levels(rest, changed, [lvl for lvl, _ in corner]) for corner in corners]
        if all(cell in values for cell in cells) and _same_novel_classes(novel, cells):
            groups.append([values[cell] for cell in cells])
    signs = [math.prod(sign for _, sign in corner) for corner in corners]
    seeds = set.intersection(*(set(cell) for cells in groups for cell in cells)) if groups else ()
    contrasts = [
        statistics.fmean(
            sum(sign * cell[seed] for sign, cell in zip(signs, cells, strict=True))
            for cells in groups)
        for seed in sorted(seeds)]
    return Effect(changes, on, mean_difference(contrasts, confidence), len(groups))


def _remove_places(cell: _Cell, places: Sequence[int]) -> _Cell:
    return tuple(level for place, level in enumerate(cell) if place not in places)


def _insert_levels(rest: _Cell, places: Sequence[int], levels: Sequence[str | None]) -> _Cell:
    cell = list(rest)
    for place, level in zip(places, levels, strict=True):
        cell.insert(place, level)
    return tuple(cell)


def _with_tests(effects: Sequence[Effect], alpha: float) -> tuple[Effect, ...]:
    """Return the effects with Holm's correction and the power of the tests."""
    tested = []
    corrected = holm([effect.difference.p for effect in effects])
    for effect, p_holm in zip(effects, corrected, strict=True):
        mean, *_, n, sd, _ = effect.difference
        if sd is not None:
            effect = effect._replace(
                p_holm=p_holm, detectable=detectable_difference(sd, n, POWER, alpha),
                seeds_needed=seeds_needed(mean, sd, POWER, alpha))
        tested.append(effect)
    return tuple(tested)


def _design(
    arms: Sequence[ArmTrials], axes: Sequence[str], base: ArmTrials | None
) -> tuple[str, int]:
    """Return the name of the design, and the number of its cells without a finished trial."""
    planned = {tuple(arm.levels.values()) for arm in arms}
    finished = {tuple(arm.levels.values()) for arm in arms if arm.finished}
    if all(arm.count_different_levels(base) <= 1 for arm in arms):
        return "one at a time", len(planned - finished)
    cells = math.prod(len(_levels(arms, axis)) for axis in axes)
    return "grid" if len(planned) == cells else "incomplete grid", cells - len(finished)
