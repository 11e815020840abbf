"""The columns of the data frame of results: one row per trial.

Fixed columns are in `FIXED`. Beside them there is one for each axis, with the name of the trial's
level, and one for each number, named `<reading>/<metric>/<classes>`::

    frame.groupby("mask_head")["groundtruth/iou/novel"].mean()

Numbers are in [0, 1], and missing where the trial has not finished or the number is undefined. An
axis that is called like a fixed column is in `axis:<its name>`.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd


class Column(NamedTuple):
    """A fixed column.

    Attributes:
        dtype: Of pandas.
        meaning: What is in it.
    """

    dtype: str
    meaning: str


FIXED: dict[str, Column] = {
    "trial": Column("string", "the trial's id"),
    "sweep": Column("string", "the name of its sweep; empty where it was trained without one"),
    "arm": Column("string", "the label of its arm"),
    "baseline": Column("boolean", "whether its arm is the sweep's baseline"),
    "seed": Column("Int64", "its seed"),
    "status": Column("string", "new, queued, running, finished, failed or interrupted"),
    "cause": Column("string", "why it failed, was interrupted or waits; else empty"),
    "step": Column("Int64", "the last step that is noted"),
    "steps": Column("Int64", "how many it takes in all"),
    "attempts": Column("Int64", "how often it was started"),
    "train_seconds": Column("Float64", "seconds that its steps took, over all attempts"),
    "parameters": Column("Int64", "numbers that its model consists of"),
    "training_gmacs": Column("Float64", "10^9 multiply-adds of its training, an estimate"),
    "dataset": Column("string", "what it was evaluated on, as name@fingerprint"),
    "code_state": Column("string", "'other code' or 'mixed code' than the present one; else empty"),
    "commit": Column("string", "the commit that it was last started from"),
    "folder": Column("string", "where its files are; empty where they are not at hand"),
}

STATUSES: tuple[str, ...] = ("finished", "failed", "interrupted", "running", "queued", "new")

_AXIS = "axis:"


def axis_column(axis: str) -> str:
    """Return the column of an axis."""
    return f"{_AXIS}{axis}" if axis in FIXED else axis


def axes(frame: pd.DataFrame) -> list[str]:
    """Return the columns that are axes, in order."""
    return [name for name in frame.columns if name not in FIXED and "/" not in name]


def metrics(frame: pd.DataFrame) -> list[str]:
    """Return the columns that are numbers, `<reading>/<metric>/<classes>`, in order."""
    return [name for name in frame.columns if name.count("/") >= 2]
