"""Two arms compared class by class and image by image, with intervals over images and seeds.

::

    compared = compare(results.load("runs/heads"), "default", "hourglass20")
    compared.groups                                      # seen, novel, all: b - a, low, high
    compared.classes.sort_values("difference")           # a row per class
    compared.images.head(10)                             # where b gains most
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from deepmac_ablate.errors import check_at_least
from deepmac_ablate.results import statistics
from deepmac_ablate.results.comparison import image_changes, resampling, roles, scored_images, sides
from deepmac_ablate.results.comparison.resampling import Draws
from deepmac_ablate.results.comparison.scored_images import ScoredImages
from deepmac_ablate.results.comparison.sides import Sides

# Below that, a twentieth of the resamples is no estimate of anything.
_FEWEST_RESAMPLES = 100
# What is beyond comes from the arithmetic, and must not exclude 0.
_DIGITS = 12


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What two arms came to, `difference` being always that of the second minus the first.

    Attributes:
        sides: The arms and their trials.
        metric: `<reading>/<metric>`, in [0, 1].
        resamples: How many resamples the intervals are from.
        seed: Of the resamples.
        confidence: Of the intervals, in (0, 1).
        groups: A row per group of classes: `group` (seen, novel, all; where a class has not the
            same role on both sides, such as "novel in A, seen in B"), `count` of classes, and
            `a`, `b`, `difference`, `low`, `high`, `p`, `excludes_zero`: means over classes and
            seeds, the interval, twice the share of resamples on the rarer side of 0, and whether 0
            is outside the interval.
        classes: A row per class that has instances: `category_id`, `name`, `role` (as `group`),
            `instances`, `images` that have one, the columns of `groups`, and `q`: p corrected for
            the number of classes, see `resampling.false_discoveries`.
        images: A row per image, the largest gain first, see `image_changes`; empty where the trials
            have not kept the IoU of each object.
    """

    sides: Sides
    metric: str
    resamples: int
    seed: int
    confidence: float
    groups: pd.DataFrame
    classes: pd.DataFrame
    images: pd.DataFrame


def compare(
    frame: pd.DataFrame,
    arm_a: str,
    arm_b: str,
    metric: str = "groundtruth/iou",
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Compares two arms on the images that both were evaluated on.

    Args:
        frame: The results, see `columns`.
        arm_a: Label of an arm or id of a trial; what the other is compared with.
        arm_b: The other one.
        metric: One of `scored_images.METRICS`.
        resamples: How often to draw images and seeds.
        seed: Of the draws.
        confidence: Of the intervals, in (0, 1).

    Raises:
        UserError: If an argument names nothing, nothing has finished, or files that this needs are
            missing or broken or of different data sets.
    """
    scored_images.check_metric(metric)
    check_at_least(_FEWEST_RESAMPLES, resamples=resamples)
    check_at_least(0, seed=seed)
    statistics.check_confidence(confidence)
    chosen = sides.choose(frame, arm_a, arm_b)
    scored = scored_images.read(chosen.trials, metric)
    classes = roles.of(frame, chosen)
    side_a, side_b = scored[:len(chosen.trials_a)], scored[len(chosen.trials_a):]
    draws = resampling.bootstrap(
        [it.by_class for it in side_a], [it.by_class for it in side_b], chosen.paired,
        len(scored[0].image_ids), resamples, seed)
    observed = Draws(_mean(side_a), _mean(side_b))
    return Comparison(
        chosen, metric, resamples, seed, confidence,
        _groups(scored[0], classes, observed, draws, confidence),
        _classes(scored[0], classes, observed, draws, confidence),
        image_changes.of(chosen, classes))


def _mean(side: list[ScoredImages]) -> np.ndarray:
    return np.mean([it.by_class(it.ones) for it in side], axis=0)


def _classes(
    scored: ScoredImages, classes: pd.DataFrame, observed: Draws, draws: Draws, confidence: float
) -> pd.DataFrame:
    of_class = scored.instances[:, 1]
    images = np.unique(scored.instances, axis=0)[:, 1]
    size = len(scored.class_ids)
    table = pd.DataFrame({
        "category_id": scored.class_ids,
        "name": classes["name"].reindex(scored.class_ids).to_numpy(),
        "role": classes["role"].reindex(scored.class_ids).to_numpy(),
        "instances": np.bincount(of_class, minlength=size),
        "images": np.bincount(images, minlength=size),
        **_numbers(observed, draws, confidence)})
    # Nobody can be compared where there is nothing to find.
    table = table[table["instances"] > 0].reset_index(drop=True)
    return table.assign(q=resampling.false_discoveries(table["p"].to_numpy()))


def _groups(
    scored: ScoredImages, classes: pd.DataFrame, observed: Draws, draws: Draws, confidence: float
) -> pd.DataFrame:
    role = classes["role"].reindex(scored.class_ids)
    with_instances = ~np.isnan(observed.a)
    present = set(role[with_instances])
    names = [name for name in roles.ORDER if name in present]
    members = [with_instances & (role == name).to_numpy() for name in names] + [with_instances]
    a, b, draws_a, draws_b = (
        np.stack([resampling.group_means(values, chosen) for chosen in members], axis=-1)
        for values in (*observed, *draws))
    return pd.DataFrame({
        "group": [*names, "all"], "count": [int(chosen.sum()) for chosen in members],
        **_numbers(Draws(a, b), Draws(draws_a, draws_b), confidence)})


def _numbers(observed: Draws, draws: Draws, confidence: float) -> dict[str, np.ndarray]:
    """Returns the columns that classes and groups share, [N] each."""
    differences = np.round(draws.b - draws.a, _DIGITS)
    low, high = resampling.percentile_interval(differences, confidence)
    return {
        "a": observed.a, "b": observed.b, "difference": np.round(observed.b - observed.a, _DIGITS),
        "low": low, "high": high, "p": resampling.p_values(differences),
        "excludes_zero": (low > 0) | (high < 0)}
