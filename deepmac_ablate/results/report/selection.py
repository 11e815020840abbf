"""Selection of the arms and the annotated objects that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.statistics import mean_interval

GROUPS: dict[str, str] = {
    "disagreement": "Largest disagreement: the widest range of IoU across arms",
    "worst": "Worst segmented: the lowest mean IoU across arms",
    "random": "Random objects",
}
# Share of each group; the rest are objects of seen classes, for comparison.
_NOVEL_SHARE = 2 / 3


class ArmSelection(NamedTuple):
    """Arms to show.

    Attributes:
        arms: The selected arms, in the order in which they were given.
        note: How they were selected; empty if all arms are shown.
    """

    arms: Sequence[ArmTrials]
    note: str


def most_informative_arms(arms: Sequence[ArmTrials], metric: str, limit: int) -> ArmSelection:
    """Select the baselines and the arms with the best results on novel classes.

    Args:
        arms: All arms, in the order of the report.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".
        limit: Largest number of arms to select, at least 1.
    """
    if len(arms) <= limit:
        return ArmSelection(arms, "")

    def rank(place: int) -> tuple[bool, bool, float]:
        values = list(arms[place].values_by_seed(f"{metric}/novel").values())
        return not arms[place].baseline, not values, -mean_interval(values).mean if values else 0.0

    selected = sorted(sorted(range(len(arms)), key=rank)[:limit])
    note = (
        f"Showing {limit} of {len(arms)} arms: the baseline and those with the highest mean on "
        "novel classes. The best of many arms owe part of their lead to chance.")
    return ArmSelection([arms[place] for place in selected], note)


class ChosenObject(NamedTuple):
    """Annotated object, with the IoU of each arm's mask.

    Attributes:
        annotation_id: Id of the annotation.
        image_id: Id of the image that shows the object.
        category_id: Id of the object's class.
        name: Name of the class.
        role: "seen" or "novel".
        ious: IoU in [0, 1], by the label of the arm.
    """

    annotation_id: int
    image_id: int
    category_id: int
    name: str
    role: str
    ious: Mapping[str, float]


def choose_objects(
    instances: pd.DataFrame, count: int, seed: int = 0
) -> dict[str, list[ChosenObject]]:
    """Choose the objects of each group: two thirds novel classes, which come first.

    Args:
        instances: One row per object and arm, with the columns `arm`, `annotation_id`, `image_id`,
            `category_id`, `name`, `role` and `iou`. Objects that lack an arm are ignored.
        count: Number of objects in each group; there may be fewer.
        seed: Seed of the random group.

    Returns:
        The objects of each group, in the order of `GROUPS`. Ties are ordered by annotation id.
    """
    if instances.empty or count < 1:
        return {name: [] for name in GROUPS}
    facts = instances.groupby("annotation_id").first().sort_index()
    ious = instances.pivot(index="annotation_id", columns="arm", values="iou").dropna()
    facts = facts.loc[ious.index]
    orders = {
        "disagreement": (ious.min(axis=1) - ious.max(axis=1)).sort_values(kind="stable").index,
        "worst": ious.mean(axis=1).sort_values(kind="stable").index,
        "random": ious.sample(frac=1.0, random_state=seed).index,
    }
    arms = list(dict.fromkeys(instances["arm"]))
    return {
        name: [
            _chosen_object(key, facts, ious, arms)
            for key in _novel_first(orders[name], facts, count)]
        for name in GROUPS}


def _novel_first(order: Sequence[int], facts: pd.DataFrame, count: int) -> list[int]:
    """Return the first objects of both roles, with more of one if the other has too few."""
    novel = [key for key in order if facts.at[key, "role"] == "novel"]
    seen = [key for key in order if facts.at[key, "role"] != "novel"]
    wanted = max(round(count * _NOVEL_SHARE), count - len(seen))
    return [*novel[:wanted], *seen[: count - len(novel[:wanted])]]


def _chosen_object(
    key: int, facts: pd.DataFrame, ious: pd.DataFrame, arms: Sequence[str]
) -> ChosenObject:
    fact = facts.loc[key]
    return ChosenObject(
        int(key), int(fact["image_id"]), int(fact["category_id"]), str(fact["name"]),
        str(fact["role"]), {arm: float(ious.at[key, arm]) for arm in arms})
