"""What trials came to class by class."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results import files
from deepmac_ablate.results.frame import with_numbers

# Columns of per_class.csv that are no numbers of the trial's.
_DESCRIPTION = {
    "reading": "string", "category_id": "Int64", "name": "string", "role": "string",
    "instances": "Int64"}
_KNOWN_AT_MOST = 12


def per_class(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per trial, reading and class: finished trials whose per_class.csv is at hand.

    Args:
        frame: What `records.load` returned.

    Returns:
        Columns `trial`, `reading`, `category_id`, `name`, `role` ("seen" or "novel", in training),
        `instances`, then every number, in [0, 1] and missing where it is undefined.

    Raises:
        UserError: If a per_class.csv is broken.
    """
    there = frame[(frame["status"] == "finished") & (frame["folder"] != "")]
    tables = []
    for trial, folder in zip(there["trial"], there["folder"], strict=True):
        path = f"{folder}/per_class.csv"
        if (content := files.read(path)) is not None:
            table = _table(content, path)
            table.insert(0, "trial", trial)
            tables.append(table)
    empty = pd.DataFrame(columns=["trial", *_DESCRIPTION], dtype="object")
    joined = pd.concat(tables, ignore_index=True) if tables else empty
    dtypes = {"trial": "string"} | _DESCRIPTION
    return joined.astype({name: dtypes.get(name, "Float64") for name in joined.columns})


def metrics(long: pd.DataFrame) -> list[str]:
    """Returns the columns of `per_class` that are numbers of the trials'."""
    return [name for name in long.columns if name != "trial" and name not in _DESCRIPTION]


def with_columns(frame: pd.DataFrame, numbers: Sequence[str]) -> pd.DataFrame:
    """Returns a frame with numbers of each class beside those of groups of classes.

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


def _table(content: bytes, path: str) -> pd.DataFrame:
    try:
        # As Python reads them, and a class may be called "None".
        table = pd.read_csv(
            io.BytesIO(content), float_precision="round_trip", keep_default_na=False,
            na_values={name: [""] for name in _header(content) - {"name"}}, dtype={"name": str})
    except ValueError as error:
        raise UserError(f"{path} is broken, as it is no table ({error}); delete it.") from error
    for name in _DESCRIPTION:
        if name not in table:
            raise UserError(f"{path} is broken, as it has no column {name!r}; delete it.")
    for name in table.columns.difference(["reading", "name", "role"]):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise UserError(
                f"{path} is broken, as not all in its column {name!r} are numbers; delete it.")
    return table


def _header(content: bytes) -> set[str]:
    return set(content.partition(b"\n")[0].decode(errors="replace").strip().split(","))


def _class_names(long: pd.DataFrame) -> pd.Series:
    """Returns the name of each row's class, with its id where several classes have that name."""
    several = long.groupby("name")["category_id"].transform("nunique") > 1
    with_id = long["name"] + " (" + long["category_id"].astype("string") + ")"
    return long["name"].mask(several, with_id)


def _refuse(number: str, long: pd.DataFrame) -> None:
    """Raises if no trial has a number, unless there are no numbers by class at all."""
    known = sorted({
        f"{reading}/{metric}" for reading, rows in long.groupby("reading")
        for metric in metrics(long) if rows[metric].notna().any()})
    if known:
        more = " and more" if len(known) > _KNOWN_AT_MOST else ""
        raise UserError(
            f"No trial has {number!r} by class.{did_you_mean(number, known)} Known are "
            f"{', '.join(known[:_KNOWN_AT_MOST])}{more}.")
