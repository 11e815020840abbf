"""The images on which two arms differ most, by the IoU of the masks in annotated boxes."""

from __future__ import annotations

import pandas as pd

from deepmac_ablate.results import instances as kept
from deepmac_ablate.results.comparison import scored_images
from deepmac_ablate.results.comparison.sides import Sides

_COLUMNS = ("image_id", "instances", "a", "b", "difference", "classes")


def of(sides: Sides, classes: pd.DataFrame) -> pd.DataFrame:
    """Returns how much the mean IoU over the annotated masks of each image differs.

    Args:
        sides: What is compared; means over the seeds of each side.
        classes: `name` by `category_id`.

    Returns:
        A row per image, the largest gain of the second side first: `image_id`, `instances`, `a`,
        `b`, `difference` (b - a), and `classes`, the names of its classes, that which differs most
        first. No row where a trial has not kept the IoU of each object.

    Raises:
        UserError: If a file is broken.
    """
    both = []
    for trials in (sides.trials_a.values(), sides.trials_b.values()):
        contents = scored_images.read_files(list(trials), kept.FILE)
        if len(contents) < len(trials):
            return pd.DataFrame(columns=list(_COLUMNS))
        tables = [kept.table(*content) for content in contents.values()]
        objects = pd.concat(tables).groupby(["image_id", "annotation_id", "category_id"])
        both.append(objects["iou"].mean())
    objects = pd.DataFrame({"a": both[0], "b": both[1]}).reset_index()
    objects["difference"] = objects["b"] - objects["a"]
    images = objects.groupby("image_id")
    table = images[["a", "b", "difference"]].mean()
    table.insert(0, "instances", images.size())
    table["classes"] = _classes(objects, classes)
    return table.reset_index().sort_values(
        ["difference", "image_id"], ascending=[False, True], ignore_index=True)


def _classes(objects: pd.DataFrame, classes: pd.DataFrame) -> pd.Series:
    changes = objects.groupby(["image_id", "category_id"])["difference"].sum().reset_index()
    changes["size"] = changes["difference"].abs()
    changes["name"] = classes["name"].reindex(changes["category_id"]).to_numpy()
    ordered = changes.sort_values("size", ascending=False, kind="stable")
    return ordered.groupby("image_id")["name"].agg(", ".join)
