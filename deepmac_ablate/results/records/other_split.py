"""Means over seen and novel classes as another class split has them."""

from __future__ import annotations

import pandas as pd

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.results import columns
from deepmac_ablate.results.records import per_class_numbers
from deepmac_ablate.results.records.frame import with_numbers


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
    classes: dict[str, dict[int, str]] = {}
    ids = long["category_id"].tolist()
    for trial, class_id, name in zip(long["trial"], ids, long["name"], strict=True):
        classes.setdefault(trial, {})[class_id] = name
    known: dict[tuple[tuple[int, str], ...], dict[int, class_splits.Role]] = {}
    roles = {}
    for trial, names in classes.items():
        data_set = tuple(names.items())
        if data_set not in known:
            known[data_set] = class_splits.roles(split, [Category(*it) for it in data_set])
        roles[trial] = known[data_set]
    found = [roles[trial][class_id] for trial, class_id in zip(long["trial"], ids, strict=True)]
    return pd.Series(found, index=long.index, dtype="string")
