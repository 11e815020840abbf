"""Which annotated objects are worth a look, and their pictures with every arm's mask.

Chosen and shown are the masks of one trial an arm, predicted in annotated boxes, so that no
detector decides what there is to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

GROUPS: dict[str, str] = {
    "disagreement": "Where arms disagree most: the largest range of IoU over the arms",
    "worst": "What is segmented worst: the lowest mean IoU over the arms",
    "random": "Drawn at random",
}
# Of each group; the rest are seen classes, to compare with.
_NOVEL_SHARE = 2 / 3


class Chosen(NamedTuple):
    """An annotated object, and how well each arm segments it.

    Attributes:
        annotation_id: In the annotations.
        image_id: Of its image.
        category_id: Of its class.
        name: Of its class.
        role: "seen" or "novel".
        ious: In [0, 1], by arm.
    """

    annotation_id: int
    image_id: int
    category_id: int
    name: str
    role: str
    ious: Mapping[str, float]


def choose(instances: pd.DataFrame, count: int, seed: int = 0) -> dict[str, list[Chosen]]:
    """Chooses objects of each group: novel classes first, two thirds where there are so many.

    Args:
        instances: One row per object and arm: `arm`, `annotation_id`, `image_id`, `category_id`,
            `name`, `role`, `iou`. Objects that an arm lacks are left out.
        count: Of each group; fewer where there are fewer.
        seed: Of the group that is drawn at random.

    Returns:
        The groups in the order of `GROUPS`; equal objects in the order of their ids.
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
        name: [_chosen(key, facts, ious, arms) for key in _novel_first(orders[name], facts, count)]
        for name in GROUPS}


def _novel_first(order: Sequence[int], facts: pd.DataFrame, count: int) -> list[int]:
    """Takes from both roles, and more of one where the other has too few."""
    novel = [key for key in order if facts.at[key, "role"] == "novel"]
    seen = [key for key in order if facts.at[key, "role"] != "novel"]
    wanted = max(round(count * _NOVEL_SHARE), count - len(seen))
    return [*novel[:wanted], *seen[: count - len(novel[:wanted])]]


def _chosen(key: int, facts: pd.DataFrame, ious: pd.DataFrame, arms: Sequence[str]) -> Chosen:
    fact = facts.loc[key]
    return Chosen(
        int(key), int(fact["image_id"]), int(fact["category_id"]), str(fact["name"]),
        str(fact["role"]), {arm: float(ious.at[key, arm]) for arm in arms})
