"""Means over seen and novel classes as another class split has them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.results import columns, per_class_numbers
from deepmac_ablate.results.frame import with_numbers


def with_split(frame: pd.DataFrame, split: class_splits.Split) -> pd.DataFrame:
    """Returns a frame whose means over seen and novel classes are those of another class split.

    They are means over classes, or over instances, as those of `readings.scalars`. Means over all
    classes stay as they are. Trials whose numbers by class are not at hand have none of the others.

    Args:
        frame: What `records.load` returned.
        split: As `class_splits.resolve` takes it.

    Raises:
        UserError: If the split does not fit the classes, or a per_class.csv is broken.
    """
    from deepmac_ablate.metrics import readings

    long = per_class_numbers.per_class(frame)
    long["role"] = _roles(long, split)
    rows = long.groupby(["trial", "reading", "role"], sort=False)
    numbers = per_class_numbers.metrics(long)
    means = rows[numbers].mean()
    instances = rows["instances"].sum()
    over_instances = {name: name for name in readings.OVER_INSTANCES if name in numbers}
    over_instances |= {"iou_instances": "iou"} if "iou" in numbers else {}
    for name, metric in over_instances.items():
        total = (long[metric] * long["instances"]).groupby(
            [long["trial"], long["reading"], long["role"]], sort=False).sum(min_count=1)
        means[name] = (total / instances).where(instances > 0)
    wide = means.unstack(["reading", "role"]).reindex(frame["trial"])
    found = {
        f"{reading}/{metric}/{role}": wide[metric, reading, role].array
        for metric, reading, role in wide.columns
        if wide[metric, reading, role].notna().any()}
    gone = {
        name: pd.array([None] * len(frame), dtype="Float64") for name in columns.metrics(frame)
        if name.rpartition("/")[2] in ("seen", "novel")}
    return with_numbers(frame, gone | found)


def _roles(long: pd.DataFrame, split: class_splits.Split) -> pd.Series:
    """Returns the role of each row's class; trials may be of several data sets."""
    known: dict[tuple[tuple[int, str], ...], dict[int, class_splits.Role]] = {}
    found = pd.Series(index=long.index, dtype="string")
    for _, rows in long.groupby("trial", sort=False):
        classes = tuple(dict.fromkeys(zip(rows["category_id"], rows["name"], strict=True)))
        if classes not in known:
            known[classes] = class_splits.roles(split, _categories(classes))
        found[rows.index] = rows["category_id"].map(known[classes])
    return found


def _categories(classes: Iterable[tuple[int, str]]) -> list[Category]:
    return [Category(int(class_id), name) for class_id, name in classes]
