"""Columns of the data frame of results, which has one row per trial.

The fixed columns are in `FIXED`. There is also one column per axis, which holds the name of the
trial's level, and one per metric, named `<box source>/<metric>/<classes>`::

    frame.groupby("mask_head")["groundtruth/iou/novel"].mean()

Metrics are in [0, 1], and missing if the trial has not finished or the metric is undefined. The
column of an axis that has the name of a fixed column is `axis:<name of the axis>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deepmac_ablate import box_jitter

if TYPE_CHECKING:
    import pandas as pd


class Column(NamedTuple):
    """A fixed column.

    Attributes:
        dtype: The name of its pandas dtype.
        meaning: A description of its values.
    """

    dtype: str
    meaning: str


FIXED: dict[str, Column] = {
    "trial": Column("string", "the trial's id"),
    "sweep": Column("string", "the name of its sweep; empty if it was trained without one"),
    "arm": Column("string", "the label of its arm"),
    "baseline": Column("boolean", "true if its arm is the sweep's baseline"),
    "seed": Column("Int64", "its seed"),
    "status": Column("string", "new, queued, running, finished, failed or interrupted"),
    "cause": Column("string", "why it failed, was interrupted or waits; else empty"),
    "step": Column("Int64", "the last step that was logged"),
    "steps": Column("Int64", "the number of steps of its training"),
    "attempts": Column("Int64", "the number of times that it was started"),
    "train_seconds": Column("Float64", "seconds spent in training steps, over all attempts"),
    "parameters": Column("Int64", "the number of parameters of its model"),
    "training_gmacs": Column("Float64", "10^9 multiply-adds of its training, an estimate"),
    "dataset": Column("string", "the dataset it was evaluated on, as name@fingerprint"),
    "images": Column("Int64", "the number of images it was evaluated on; missing if unknown"),
    "dataset_images": Column("Int64", "the number of images of that dataset; missing if unknown"),
    "code_state": Column(
        "string", "'other code' or 'mixed code' if not all of it ran with the present code"),
    "commit": Column("string", "the commit that it was last started from"),
    "platform": Column(
        "string", "the processor or accelerator, threads, XLA and determinism of its training, "
        "several separated by '; '; empty if unknown"),
    "continued_from": Column(
        "string", "the shorter trial whose last checkpoint it continued from, with the step; empty "
        "if it began at step 0"),
    "folder": Column("string", "the folder of its files; empty if they are not available"),
}

STATUSES: tuple[str, ...] = ("finished", "failed", "interrupted", "running", "queued", "new")

# The key of `DataFrame.attrs` for trials that several sweeps share: by the trial's id, the `sweep`,
# `arm` and `baseline` in the sweeps other than that of its row.
OTHER_PLACES = "other_places"

_AXIS = "axis:"


def axis_column(axis: str) -> str:
    """Return the name of the column of an axis."""
    return f"{_AXIS}{axis}" if axis in FIXED else axis


def axis_name(column: str) -> str:
    """Return the name of the axis that a column is about, the inverse of `axis_column`."""
    return column.removeprefix(_AXIS)


def axes(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns of axes, in order."""
    return [name for name in frame.columns if name not in FIXED and "/" not in name]


def metrics(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns of metrics, in order."""
    return [name for name in frame.columns if name.count("/") >= 2]


def evaluated_metrics(frame: pd.DataFrame) -> list[str]:
    """Return the headline metric of each box source of an evaluation: mask IoU, or mask AP.

    Ground-truth boxes come first, then boxes with more and more jitter.
    """
    known = {name.rpartition("/")[0] for name in metrics(frame)}
    sources = {metric.partition("/")[0] for metric in known}

    def jitter(source: str) -> tuple[str, float]:
        noise = box_jitter.parse_jitter(source)
        return (noise.mode, noise.ratio) if noise else ("", float(source != "groundtruth"))

    preferred = (
        next((f"{source}/{name}" for name in ("iou", "mask_ap") if f"{source}/{name}" in known), "")
        for source in sorted(sources, key=jitter))
    return [metric for metric in preferred if metric]
