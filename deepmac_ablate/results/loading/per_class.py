"""What trials came to class by class."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from deepmac_ablate import class_splits, storage
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results import columns
from deepmac_ablate.results.loading.frame import with_numbers

# Columns of per_class.csv that are no numbers of the trial's.
_DESCRIPTION = {
    "reading": "string", "category_id": "Int64", "name": "string", "role": "string",
    "instances": "Int64"}
_AS_READ = {
    "reading": "str", "category_id": "int64", "name": "str", "role": "str", "instances": "int64"}
_KNOWN_AT_MOST = 12


def per_class(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per trial, reading and class: finished trials whose per_class.csv is at hand.

    Args:
        frame: What `records.load` returned.

    Returns:
        Columns `trial`, `reading`, `category_id`, `name`, `role` ("seen" or "novel", in training),
        `instances`, then every number, in [0, 1] and missing where it is undefined.

    Raises:
        UserError: If a per_class.csv is broken.
    """
    there = frame[(frame["status"] == "finished") & (frame["folder"] != "")]
    # Hundreds of files of one form are read as one.
    forms: dict[bytes, list[_File]] = {}
    paths = [f"{folder}/per_class.csv" for folder in there["folder"]]
    contents = storage.read_many(paths)
    for trial, path in zip(there["trial"], paths, strict=True):
        if (content := contents[path]) is not None:
            header, _, rows = content.partition(b"\n")
            forms.setdefault(header, []).append(_File(trial, path, rows))
    tables = [_joined(header, of_form) for header, of_form in forms.items()]
    if len(tables) > 1:
        place = {trial: number for number, trial in enumerate(there["trial"])}
        tables = [pd.concat(tables).sort_values(
            "trial", key=lambda trials: trials.map(place), kind="stable", ignore_index=True)]
    [long] = tables or [pd.DataFrame(columns=["trial", *_DESCRIPTION], dtype="object")]
    dtypes = {"trial": "string"} | _DESCRIPTION
    return long.astype({name: dtypes.get(name, "Float64") for name in long.columns})


def metrics(long: pd.DataFrame) -> list[str]:
    """Return the columns of `per_class` that are numbers of the trials'."""
    return [name for name in long.columns if name != "trial" and name not in _DESCRIPTION]


def with_columns(frame: pd.DataFrame, numbers: Sequence[str]) -> pd.DataFrame:
    """Return a frame with numbers of each class beside those of groups of classes.

    Args:
        frame: What `records.load` returned.
        numbers: Such as "groundtruth/iou", which gives `groundtruth/iou/class:<name>`.

    Raises:
        UserError: If no trial has one of them, though some have others.
    """
    long = per_class(frame)
    classes = _class_names(long)
    added = {}
    for number in numbers:
        reading, _, metric = number.partition("/")
        rows = long[long["reading"] == reading]
        if metric not in metrics(long) or not rows[metric].notna().any():
            _refuse(number, long)
            continue
        wide = rows.assign(column=classes[rows.index]).pivot(
            index="trial", columns="column", values=metric).reindex(frame["trial"])
        added |= {f"{number}/class:{name}": wide[name].array for name in wide.columns}
    return with_numbers(frame, added)


class _File(NamedTuple):
    """A per_class.csv: whose it is, where, and what is below its header."""

    trial: str
    path: str
    rows: bytes


def _joined(header: bytes, of_form: Sequence[_File]) -> pd.DataFrame:
    """Return the rows of files with one header, each with its trial."""
    lines = [file.rows.count(b"\n") for file in of_form]
    with contextlib.suppress(ValueError):
        table = _table(header, b"".join(file.rows for file in of_form))
        if len(table) == sum(lines):
            return table.assign(trial=np.repeat([file.trial for file in of_form], lines))
    # One of them is broken, or lines are not rows, as a class may have a line break in its name.
    return pd.concat([_alone(header, file) for file in of_form], ignore_index=True)


def _alone(header: bytes, file: _File) -> pd.DataFrame:
    try:
        return _table(header, file.rows).assign(trial=file.trial)
    except ValueError as error:
        raise UserError(
            f"{file.path} is broken, as it is no table of numbers by class ({error}); delete it."
        ) from error


def _table(header: bytes, rows: bytes) -> pd.DataFrame:
    """Return a table whose first column is kept free for the trial.

    Raises:
        ValueError: If it is none, or lacks a column.
    """
    names = header.decode().strip().split(",")
    if missing := [name for name in _DESCRIPTION if name not in names]:
        raise ValueError(f"it has no column {missing[0]!r}")
    if not rows.endswith(b"\n"):
        raise ValueError("its last line is not whole")
    dtypes = {name: _AS_READ.get(name, "float64") for name in names}
    # A class may be called "None", so that only what is empty is missing.
    table = pd.read_csv(
        io.BytesIO(rows), names=names, dtype=dtypes, keep_default_na=False,
        na_values={name: [""] for name in names if name not in _AS_READ})
    table.insert(0, "trial", "")
    return table


def _class_names(long: pd.DataFrame) -> pd.Series:
    """Return the name of each row's class, with its id where several classes have that name."""
    several = long.groupby("name")["category_id"].transform("nunique") > 1
    with_id = long["name"] + " (" + long["category_id"].astype("string") + ")"
    return long["name"].mask(several, with_id)


def _refuse(number: str, long: pd.DataFrame) -> None:
    """Raise if no trial has a number, unless there are no numbers by class at all."""
    known = sorted({
        f"{reading}/{metric}" for reading, rows in long.groupby("reading")
        for metric in metrics(long) if rows[metric].notna().any()})
    if known:
        more = " and more" if len(known) > _KNOWN_AT_MOST else ""
        raise UserError(
            f"No trial has {number!r} by class.{did_you_mean(number, known)} Known are "
            f"{', '.join(known[:_KNOWN_AT_MOST])}{more}.")


def with_split(frame: pd.DataFrame, split: class_splits.Split) -> pd.DataFrame:
    """Return a frame whose means over seen and novel classes are those of another class split.

    They are means over classes, or over instances, as those of `summary.mean_scalars`. Means over
    all classes stay as they are. Trials whose numbers by class are not at hand have none of the
    others.

    Args:
        frame: What `records.load` returned.
        split: As `class_splits.resolve` takes it.

    Raises:
        UserError: If the split does not fit the classes, or a per_class.csv is broken.
    """
    from deepmac_ablate.evaluation.metrics import summary

    long = per_class(frame)
    long["role"] = _roles(long, split)
    rows = long.groupby(["trial", "reading", "role"], sort=False)
    numbers = metrics(long)
    means = rows[numbers].mean()
    instances = rows["instances"].sum()
    over_instances = {name: name for name in summary.OVER_INSTANCES if name in numbers}
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
    """Return the role of each row's class; trials may be of several datasets."""
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
