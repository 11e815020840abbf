"""Results of trials as rows per annotated object, image or class."""

from __future__ import annotations

import warnings

import pandas as pd

from deepmac_ablate import class_splits
from deepmac_ablate.errors import BrokenFileWarning, UserError, count_noun, inflect
from deepmac_ablate.results import instances
from deepmac_ablate.results.loading.per_class import per_class, split_roles
from deepmac_ablate.storage import file_io

# Columns that say which trial a row is of.
TRIAL_COLUMNS = ("sweep", "arm", "seed", "trial")
_OBJECT = ("image_id", "annotation_id", "category_id", "name", "role")


def per_object(frame: pd.DataFrame, split: class_splits.Split = None) -> pd.DataFrame:
    """Return one row per trial and annotated object.

    Issues a `BrokenFileWarning` for files that are broken, and for the number of finished trials
    without any; these trials are left out.

    Args:
        frame: The frame from `results.load`.
        split: A split that `class_splits.resolve` accepts, for the roles; None means the trials'
            own splits.

    Returns:
        Columns `sweep`, `arm`, `seed`, `trial`, `image_id`, `annotation_id`, `category_id`, `name`
        and `role` ("seen" or "novel") of the class, and `iou`, `boundary_iou` and further metrics
        of the mask that is predicted in the ground-truth box, in [0, 1]; missing if undefined.
    """
    finished = frame[frame["status"] == "finished"]
    available = finished[finished["folder"] != ""]
    paths = {
        trial: f"{folder}/{instances.FILE}"
        for trial, folder in zip(available["trial"], available["folder"], strict=True)}
    unreadable: dict[str, str] = {}
    contents = file_io.read_many(paths.values(), unreadable=unreadable)
    problems = list(unreadable.values())
    tables = {}
    for trial, path in paths.items():
        if contents[path] is not None:
            try:
                tables[trial] = instances.parse_instances(contents[path], path)
            except UserError as error:
                problems.append(str(error))
    if absent := len(finished) - len(tables) - len(problems):
        problems.append(
            f"{absent} of {count_noun(len(finished), 'finished trial')} "
            f"{inflect(absent, 'has', 'have')} no {instances.FILE}.")
    for problem in problems:
        warnings.warn(f"Left out by object: {problem}", BrokenFileWarning, stacklevel=2)
    if not tables:
        return pd.DataFrame(columns=[*TRIAL_COLUMNS, *_OBJECT, "iou", "boundary_iou"])
    rows = pd.concat(tables, names=["trial"]).reset_index("trial")
    metrics = _metrics(rows)
    rows = rows.merge(_class_names(frame, split), on=["trial", "category_id"], how="left")
    return _with_trial_columns(frame, rows, (*_OBJECT, *metrics))


def per_image(frame: pd.DataFrame, split: class_splits.Split = None) -> pd.DataFrame:
    """Return one row per trial, image and role of its classes: means over the objects.

    Args:
        frame: As in `per_object`.
        split: As in `per_object`.

    Returns:
        Columns `sweep`, `arm`, `seed`, `trial`, `image_id`, `role` ("seen", "novel", or "all" for
        the objects of both), the number of `instances`, and the means of the metrics.
    """
    objects = per_object(frame, split)
    objects = pd.concat([objects.assign(role="all"), objects[objects["role"].notna()]])
    # `frame` has the trials in order; groups are sorted within them.
    keys = ["trial", "image_id", "role"]
    metrics = _metrics(objects)
    images = objects.groupby(keys).agg(
        instances=("annotation_id", "size"), **{name: (name, "mean") for name in metrics})
    return _with_trial_columns(
        frame, images.reset_index(), ("image_id", "role", "instances", *metrics))


def per_class_rows(
    frame: pd.DataFrame, classes: pd.DataFrame, split: class_splits.Split = None
) -> pd.DataFrame:
    """Return the rows of `per_class` with the columns of their trials.

    Issues a `BrokenFileWarning` with the number of finished trials that have none.

    Args:
        frame: The frame from `results.load`.
        classes: What `per_class` returns.
        split: As in `per_object`.
    """
    finished = frame.loc[frame["status"] == "finished", "trial"]
    if absent := int((~finished.isin(classes["trial"])).sum()):
        warnings.warn(
            f"Left out by class: {absent} of {count_noun(len(finished), 'finished trial')} "
            f"{inflect(absent, 'has', 'have')} no readable per_class.csv.",
            BrokenFileWarning, stacklevel=2)
    if split is not None:
        classes = classes.assign(role=split_roles(classes, split))
    return _with_trial_columns(
        frame, classes, tuple(name for name in classes.columns if name != "trial"))


def _with_trial_columns(
    frame: pd.DataFrame, rows: pd.DataFrame, names: tuple[str, ...]
) -> pd.DataFrame:
    """Return rows in the order of their trials, with the `TRIAL_COLUMNS` before other columns.

    Args:
        frame: The frame from `results.load`.
        rows: Rows with a column `trial`.
        names: The other columns to keep, in order.
    """
    trials = frame[list(TRIAL_COLUMNS)]
    return trials.merge(rows, on="trial", how="inner")[[*TRIAL_COLUMNS, *names]]


def _metrics(objects: pd.DataFrame) -> list[str]:
    return [name for name in objects if name not in (*TRIAL_COLUMNS, *_OBJECT)]


def _class_names(frame: pd.DataFrame, split: class_splits.Split) -> pd.DataFrame:
    """Return the `name` and the `role` of each class by `trial` and `category_id`."""
    classes = per_class(frame)
    if split is not None:
        classes["role"] = split_roles(classes, split)
    columns = ["trial", "category_id", "name", "role"]
    return classes[columns].drop_duplicates(["trial", "category_id"])
