"""Planned contrasts: differences between groups of arms that were named before the results.

A study states its comparisons in advance, over one or several sweeps, and corrects all of them
together. A contrast is the mean over one group of arms minus the mean over another, within each
seed; further groups on both sides make a difference of differences. See Montgomery, Design and
Analysis of Experiments, ch. 3.5.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from deepmac_ablate.errors import UserError, did_you_mean, shorten
from deepmac_ablate.results import columns
from deepmac_ablate.results.arms import ArmTrials, group_by_arm
from deepmac_ablate.results.formats import join_names
from deepmac_ablate.results.statistics import Difference, holm, mean_difference
from deepmac_ablate.results.tables.arm_table import checked_metrics


class Group(NamedTuple):
    """Arms whose mean is taken.

    Attributes:
        levels: The level, or several levels, of some axes; arms with these levels belong to it,
            whatever their other levels are.
        on: The classes of the metric: "novel", "seen" or "all".
    """

    levels: Mapping[str, str | Sequence[str]]
    on: str = "novel"


class Contrast(NamedTuple):
    """A contrast.

    Attributes:
        name: Its name.
        difference: The sum over the groups `plus` minus that over the groups `minus`, a fraction,
            over the seeds that all arms of all groups have.
        arms: The labels of the arms of each group, those of `plus` first.
    """

    name: str
    difference: Difference
    arms: tuple[tuple[str, ...], ...]


def contrast(
    frame: pd.DataFrame,
    name: str,
    plus: Group | Sequence[Group],
    minus: Group | Sequence[Group],
    metric: str = "groundtruth/iou",
    confidence: float = 0.95,
    evaluated_per_trained: float = 0.0,
) -> Contrast:
    """Return the difference between groups of arms, paired by seed.

    ::

        in_boxes = {"box_source": "groundtruth"}
        contrast(frame, "deep", Group(in_boxes | {"mask_head": "hourglass20"}),
                 Group(in_boxes | {"mask_head": "default"}))

    Args:
        frame: The frame from `results.load` or `results.pool`, of one sweep.
        name: The name of the contrast.
        plus: The group or groups that are added.
        minus: As many that are subtracted.
        metric: The metric as `<box source>/<metric>`.
        confidence: The confidence of the interval, in (0, 1).
        evaluated_per_trained: The number of evaluated images per image trained on, if every seed
            belongs to another random split of the same images: such splits are correlated, and the
            interval and the test allow for that (`statistics.mean_interval`).

    Raises:
        UserError: If a group has no arms, an axis or level does not exist, or there are more groups
            on one side than on the other.
    """
    checked_metrics(frame, [metric])
    sides = [[side] if isinstance(side, Group) else list(side) for side in (plus, minus)]
    if len(sides[0]) != len(sides[1]):
        raise UserError(
            f"The contrast {name!r} adds {len(sides[0])} and subtracts {len(sides[1])} groups of "
            "arms; it needs as many of both.")
    read = {f"{metric}/{group.on}" for side in sides for group in side}
    # Most of the columns, and of the time, are other metrics.
    arms = group_by_arm(frame[[name for name in frame if "/" not in name or name in read]]).arms
    groups = [(sign, group, _members(name, arms, group, columns.axes(frame)))
              for sign, side in zip((1, -1), sides, strict=True) for group in side]
    values = [
        (sign, [arm.values_by_seed(f"{metric}/{group.on}") for arm in members])
        for sign, group, members in groups]
    seeds = set.intersection(*(set(by_seed) for _, of_group in values for by_seed in of_group))
    differences = [
        sum(sign * statistics.fmean(by_seed[seed] for by_seed in of_group)
            for sign, of_group in values)
        for seed in sorted(seeds)]
    return Contrast(
        name, mean_difference(differences, confidence, evaluated_per_trained),
        tuple(tuple(arm.label for arm in members) for *_, members in groups))


def contrast_table(contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """Return contrasts as a table, with Holm's correction over all of them.

    Args:
        contrasts: Contrasts of any sweeps, each name once.

    Returns:
        A row per contrast in its order, with its `name`, `difference`, `low` and `high` (fractions;
        the interval is not corrected), `n` (pairs), `sd`, `p`, `p_holm`, and `arms` (their number).
    """
    corrected = holm([item.difference.p for item in contrasts])
    return pd.DataFrame([
        {"name": item.name, "difference": mean, "low": low, "high": high, "n": n, "sd": sd, "p": p,
         "p_holm": p_holm, "arms": sum(map(len, item.arms))}
        for item, p_holm in zip(contrasts, corrected, strict=True)
        for mean, low, high, n, sd, p in [item.difference]])


def _members(
    name: str, arms: Sequence[ArmTrials], group: Group, axes: Sequence[str]
) -> list[ArmTrials]:
    wanted = {
        axis: {levels} if isinstance(levels, str) else set(levels)
        for axis, levels in group.levels.items()}
    for axis, levels in wanted.items():
        if axis not in axes:
            raise UserError(
                f"The contrast {name!r} is about an axis {axis!r} that the results lack."
                f"{did_you_mean(axis, axes)} They have {join_names(axes) or 'none'}.")
        known = {arm.levels[axis] for arm in arms} - {None}
        if unknown := sorted(levels - known):
            raise UserError(
                f"The contrast {name!r}: {axis} has no level {unknown[0]!r}."
                f"{did_you_mean(unknown[0], known)} It has {join_names(sorted(known))}.")
    members = [arm for arm in arms if all(arm.levels[axis] in wanted[axis] for axis in wanted)]
    if not members:
        raise UserError(
            f"The contrast {name!r}: no arm has the levels {shorten(dict(group.levels))}.")
    return members
