"""What trials came to class by class."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results.records import files
from deepmac_ablate.results.records.frame import masked, with_numbers

# Columns of per_class.csv that are no numbers of the trial's.
_DESCRIPTION = {
    "reading": "string", "category_id": "Int64", "name": "string", "role": "string",
    "instances": "Int64"}
_READERS = {"reading": str, "category_id": int, "name": str, "role": str, "instances": int}
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
    values: dict[str, list[Any]] = {name: [] for name in ("trial", *_DESCRIPTION)}
    for trial, folder in zip(there["trial"], there["folder"], strict=True):
        path = f"{folder}/per_class.csv"
        if (content := files.read(path)) is None:
            continue
        table = _table(content, path)
        rows, before = len(table["name"]), len(values["name"])
        table["trial"] = [trial] * rows
        for name in table.keys() - values.keys():
            values[name] = [math.nan] * before
        for name, of_all in values.items():
            of_all.extend(table.get(name) or [math.nan] * rows)
    numbers = sorted(values.keys() - {"trial", *_DESCRIPTION})
    arrays = {name: pd.array(values[name], dtype=dtype) for name, dtype in (
        ("trial", "string"), *_DESCRIPTION.items())}
    return pd.DataFrame(arrays | {name: masked(np.array(values[name])) for name in numbers})


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


def _table(content: bytes, path: str) -> dict[str, list[Any]]:
    """Returns the columns of a per_class.csv by name; pandas takes milliseconds for each file."""
    try:
        header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
        cells = dict(zip(header, zip(*rows, strict=True), strict=True))
        table = {
            name: list(map(_READERS[name], it)) if name in _READERS
            else [float(text) if text else math.nan for text in it]
            for name, it in cells.items()}
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"{path} is broken, as it is no table of numbers by class ({error}); delete it."
        ) from error
    for name in _DESCRIPTION.keys() - table.keys():
        raise UserError(f"{path} is broken, as it has no column {name!r}; delete it.")
    return table


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
