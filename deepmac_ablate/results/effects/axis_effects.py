"""What each axis of a sweep does: effects of its levels, and whether they depend on other axes.

The effect of a level is how much a metric changes when it takes the place of its axis's baseline
level and all other axes stay as they are. Let y(l, c, s) be the metric of the arm with level l
beside the levels c of all other axes, trained with seed s. Then

    effect(l, s)         = mean over c of  y(l, c, s) - y(l0, c, s)
    interaction(l, m, s) = mean over c of  [y(l, m, c, s) - y(l0, m, c, s)]
                                         - [y(l, m0, c, s) - y(l0, m0, c, s)]

with l0 and m0 the baseline's levels, are contrasts of the cells of a factorial design in which each
seed is a block (Montgomery, Design and Analysis of Experiments, ch. 5; the interaction is the
difference of differences, twice that of the ±1 coding). A t interval over seeds holds them. In a
one-at-a-time design the only c is the baseline's, and an effect is a paired difference to the
baseline. Arms whose novel classes are not the same ones have nothing to subtract: what takes masks
away from classes has effects in the numbers of another class split only (`results.with_split`).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from deepmac_ablate import class_splits
from deepmac_ablate.results import arms as grouping
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.statistics import (
    Difference,
    check_confidence,
    detectable_difference,
    holm,
    mean_difference,
    seeds_needed,
)
from deepmac_ablate.results.tables.arm_table import CLASSES, checked_metrics
from deepmac_ablate.results.tables.retention import ClassNumbers

# How often a difference is to be found by those who plan for it.
POWER = 0.8

# Levels of all axes of an arm, in the order of the axes.
_Cell = tuple[str | None, ...]
_Numbers = Mapping[_Cell, Mapping[int, float]]


class Change(NamedTuple):
    """An axis that goes from the baseline's level to another.

    Attributes:
        axis: Its column in the data frame.
        level: The level in question.
        against: The level in whose place it is put.
    """

    axis: str
    level: str | None
    against: str | None


class Effect(NamedTuple):
    """What one change does to a metric; or, of two changes, what one does to the other's effect.

    Attributes:
        changes: One, or two for an interaction.
        on: "novel" or "seen" classes.
        difference: Over seeds, in fractions.
        combinations: How many combinations of the other axes' levels it is a mean over.
        p_holm: The difference's p, corrected for all effects, or all interactions.
        detectable: The smallest true difference that so many seeds with so much scatter find at
            `POWER`, by a test without correction; None for fewer than two seeds.
        seeds_needed: How many seeds find one of the size observed; None for fewer than two seeds,
            or more than `statistics.MOST_SEEDS`.
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
        metric: `<reading>/<metric>`.
        confidence: Of the intervals.
        design: "one at a time", "grid" or "incomplete grid".
        rows: Of single changes, axis by axis.
        interactions: Of pairs of changes.
        missing: How many cells of the grid have no finished trial.
        left_out: Ids of trials that do not take part: of other sweeps, or see `arms.Arms`.
        apart: Whether some arms have other novel classes than others.
        split: The class split of the numbers; None: the trials' own.
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


def axis_effects(
    frame: pd.DataFrame,
    metric: str = "groundtruth/iou",
    confidence: float = 0.95,
    per_class: pd.DataFrame | None = None,
    split: class_splits.Split = None,
) -> Effects:
    """Return what each axis of a sweep does to novel and seen classes.

    Args:
        frame: From `results.load`; where it holds several sweeps, the first one's.
        metric: `<reading>/<metric>`.
        confidence: Of the intervals, in (0, 1); tests find at 1 - confidence.
        per_class: From `results.per_class`, which says what is novel in which arm; None: the same
            in all.
        split: The one that `frame` was made for, the same in all arms; None: the trials' own.

    Raises:
        UserError: If the metric is not there, or the confidence is no share.
    """
    check_confidence(confidence)
    checked_metrics(frame, [metric])
    arms, left_out = grouping.of(frame)
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
    numbers = {on: _numbers(own, f"{metric}/{on}") for on in CLASSES}
    by_class = ClassNumbers(per_class if split is None else None)
    novel = {tuple(arm.levels.values()): by_class.novel(arm) for arm in own}
    found = [
        _corrected([
            _effect(changes, axes, numbers[on], on, novel, confidence)
            for changes in of_kind for on in CLASSES], 1 - confidence)
        for of_kind in (single, pairs)]
    # Pairs that were never planned are no result.
    interactions = tuple(effect for effect in found[1] if effect.combinations)
    design, missing = _design(own, axes, base)
    return Effects(
        metric, confidence, design, found[0], interactions, missing, (*others, *left_out),
        not _same(novel, novel), split)


def _levels(arms: Iterable[ArmTrials], axis: str) -> list[str | None]:
    return list(dict.fromkeys(arm.levels[axis] for arm in arms))


def _numbers(arms: Iterable[ArmTrials], column: str) -> dict[_Cell, dict[int, float]]:
    """Return a metric by cell and seed, of the cells that have one."""
    return {
        tuple(arm.levels.values()): values for arm in arms if (values := arm.by_seed(column))}


def _same(novel: Mapping[_Cell, frozenset[int] | None], cells: Iterable[_Cell]) -> bool:
    """Whether cells have the same novel classes, as far as is known."""
    return len({novel[cell] for cell in cells} - {None}) < 2


def _effect(
    changes: tuple[Change, ...],
    axes: Sequence[str],
    numbers: _Numbers,
    on: str,
    novel: Mapping[_Cell, frozenset[int] | None],
    confidence: float,
) -> Effect:
    """Return the contrast of one or two changes."""
    changed = [axes.index(change.axis) for change in changes]
    # The cells that take part beside one combination of the other axes, and their signs.
    corners = list(itertools.product(*(((c.level, 1), (c.against, -1)) for c in changes)))
    groups = []
    for rest in dict.fromkeys(_without(cell, changed) for cell in numbers):
        cells = [_with(rest, changed, [level for level, _ in corner]) for corner in corners]
        if all(cell in numbers for cell in cells) and _same(novel, cells):
            groups.append([numbers[cell] for cell in cells])
    signs = [math.prod(sign for _, sign in corner) for corner in corners]
    seeds = set.intersection(*(set(cell) for cells in groups for cell in cells)) if groups else ()
    contrasts = [
        statistics.fmean(
            sum(sign * cell[seed] for sign, cell in zip(signs, cells, strict=True))
            for cells in groups)
        for seed in sorted(seeds)]
    return Effect(changes, on, mean_difference(contrasts, confidence), len(groups))


def _without(cell: _Cell, places: Sequence[int]) -> _Cell:
    return tuple(level for place, level in enumerate(cell) if place not in places)


def _with(rest: _Cell, places: Sequence[int], levels: Sequence[str | None]) -> _Cell:
    cell = list(rest)
    for place, level in zip(places, levels, strict=True):
        cell.insert(place, level)
    return tuple(cell)


def _corrected(effects: Sequence[Effect], alpha: float) -> tuple[Effect, ...]:
    """Return the effects with Holm's correction, and what so many seeds can find."""
    done = []
    corrected = holm([effect.difference.p for effect in effects])
    for effect, p_holm in zip(effects, corrected, strict=True):
        mean, *_, n, sd, _ = effect.difference
        if sd is not None:
            effect = effect._replace(
                p_holm=p_holm, detectable=detectable_difference(sd, n, POWER, alpha),
                seeds_needed=seeds_needed(mean, sd, POWER, alpha))
        done.append(effect)
    return tuple(done)


def _design(
    arms: Sequence[ArmTrials], axes: Sequence[str], base: ArmTrials | None
) -> tuple[str, int]:
    """Return the name of the design, and how many of its cells have no finished trial."""
    planned = {tuple(arm.levels.values()) for arm in arms}
    finished = {tuple(arm.levels.values()) for arm in arms if arm.finished}
    if all(arm.distance(base) <= 1 for arm in arms):
        return "one at a time", len(planned - finished)
    cells = math.prod(len(_levels(arms, axis)) for axis in axes)
    return "grid" if len(planned) == cells else "incomplete grid", cells - len(finished)
