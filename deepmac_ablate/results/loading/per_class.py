"""Results of trials by class, and means over the classes of another split."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.errors import BrokenFileWarning, UserError, did_you_mean
from deepmac_ablate.results import columns
from deepmac_ablate.results.loading.frame import with_metrics
from deepmac_ablate.safe_text import unprotect_cell, visible
from deepmac_ablate.storage import file_io

# Columns of per_class.csv that are not metrics.
_DESCRIPTION = {
    "reading": "string", "category_id": "Int64", "name": "string", "role": "string",
    "instances": "Int64"}
_AS_READ = {
    "reading": "str", "category_id": "int64", "name": "str", "role": "str", "instances": "int64"}
_MOST_NAMES = 12
# A metric may exceed 1 by a rounding error.
_HIGHEST = 1 + 1e-6


def per_class(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per trial, box source and class.

    Issues a `BrokenFileWarning` for each per_class.csv that is broken or cannot be read; its trial
    is left out.

    Args:
        frame: The frame from `results.load`.

    Returns:
        The finished trials whose per_class.csv is available, in the columns `trial`, `reading` (the
        box source), `category_id`, `name`, `role` ("seen" or "novel" in training), `instances`, and
        one for each metric, in [0, 1] and missing if undefined.
    """
    finished = frame[(frame["status"] == "finished") & (frame["folder"] != "")]
    # Hundreds of files with the same header are parsed as one, which is faster.
    files_by_header: dict[bytes, list[_File]] = {}
    paths = [f"{folder}/per_class.csv" for folder in finished["folder"]]
    unreadable: dict[str, str] = {}
    contents = file_io.read_many(paths, unreadable=unreadable)
    for problem in unreadable.values():
        _warn(problem)
    for trial, path in zip(finished["trial"], paths, strict=True):
        if (content := contents[path]) is not None:
            header, _, rows = content.partition(b"\n")
            files_by_header.setdefault(header, []).append(_File(trial, path, rows))
    parsed = [_parse_files(header, files) for header, files in files_by_header.items()]
    tables = [table for table in parsed if table is not None]
    if len(tables) > 1:
        position = {trial: number for number, trial in enumerate(finished["trial"])}
        tables = [pd.concat(tables).sort_values(
            "trial", key=lambda trials: trials.map(position), kind="stable", ignore_index=True)]
    [long] = tables or [pd.DataFrame(columns=["trial", *_DESCRIPTION], dtype="object")]
    dtypes = {"trial": "string"} | _DESCRIPTION
    return long.astype({name: dtypes.get(name, "Float64") for name in long.columns})


def with_split(frame: pd.DataFrame, split: class_splits.Split) -> pd.DataFrame:
    """Return a frame whose means over seen and novel classes use another class split.

    Means over classes and over instances are computed as in `summary.mean_scalars`. Means over all
    classes stay as they are. Means over seen and novel classes are missing for trials whose
    per_class.csv is not available.

    Args:
        frame: The frame from `results.load`.
        split: A split that `class_splits.resolve` accepts.

    Raises:
        UserError: If the split does not fit the classes.
    """
    from deepmac_ablate.evaluation.metrics import summary

    long = per_class(frame)
    long["role"] = split_roles(long, split)
    rows = long.groupby(["trial", "reading", "role"], sort=False)
    metrics = _metric_columns(long)
    means = rows[metrics].mean()
    instances = rows["instances"].sum()
    over_instances = {name: name for name in summary.OVER_INSTANCES if name in metrics}
    over_instances |= {"iou_instances": "iou"} if "iou" in metrics else {}
    for name, metric in over_instances.items():
        total = (long[metric] * long["instances"]).groupby(
            [long["trial"], long["reading"], long["role"]], sort=False).sum(min_count=1)
        means[name] = (total / instances).where(instances > 0)
    wide = means.unstack(["reading", "role"]).reindex(frame["trial"])
    found = {
        f"{box_source}/{metric}/{role}": wide[metric, box_source, role].array
        for metric, box_source, role in wide.columns
        if wide[metric, box_source, role].notna().any()}
    cleared = {
        name: pd.array([None] * len(frame), dtype="Float64") for name in columns.metrics(frame)
        if name.rpartition("/")[2] in ("seen", "novel")}
    return with_metrics(frame, cleared | found)


def add_per_class_columns(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return a frame with the metrics of single classes added.

    Args:
        frame: The frame from `results.load`.
        metrics: Metrics such as "groundtruth/iou", which adds `groundtruth/iou/class:<name>`.

    Raises:
        UserError: If no trial has one of the metrics by class, but some have others.
    """
    long = per_class(frame)
    classes = _class_names(long)
    added = {}
    for metric in metrics:
        box_source, _, name = metric.partition("/")
        rows = long[long["reading"] == box_source]
        if name not in _metric_columns(long) or not rows[name].notna().any():
            _check_is_known(metric, long)
            continue
        wide = rows.assign(column=classes[rows.index]).pivot(
            index="trial", columns="column", values=name).reindex(frame["trial"])
        added |= {f"{metric}/class:{label}": wide[label].array for label in wide.columns}
    return with_metrics(frame, added)


def _metric_columns(long: pd.DataFrame) -> list[str]:
    return [name for name in long.columns if name != "trial" and name not in _DESCRIPTION]


class _File(NamedTuple):
    """A per_class.csv: its trial, its path, and the lines below its header."""

    trial: str
    path: str
    rows: bytes


def _parse_files(header: bytes, files: Sequence[_File]) -> pd.DataFrame | None:
    """Return the rows of files with the same header, each with its trial; None without any."""
    lines = [file.rows.count(b"\n") for file in files]
    with contextlib.suppress(ValueError, OverflowError):
        owners = np.repeat(np.arange(len(files)), lines)
        table = _parse_rows(header, b"".join(file.rows for file in files), owners)
        return table.assign(trial=np.repeat([file.trial for file in files], lines))
    # A file is broken, or a class has a line break in its name, so that lines are not rows.
    tables = []
    for file in files:
        try:
            tables.append(parse_per_class(header, file.rows, file.path).assign(trial=file.trial))
        except UserError as error:
            _warn(str(error))
    return pd.concat(tables, ignore_index=True) if tables else None


def parse_per_class(header: bytes, rows: bytes, path: str) -> pd.DataFrame:
    """Return the content of a per_class.csv, with an empty first column for the trial.

    Args:
        header: First line of the file.
        rows: The lines below.
        path: Path of the file, for messages.

    Raises:
        UserError: If it is broken.
    """
    try:
        return _parse_rows(header, rows)
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{path} is broken: it is not a table of metrics by class ({error}); evaluate the "
            "trial again.") from error


def _warn(problem: str) -> None:
    warnings.warn(f"Left out by class: {problem}", BrokenFileWarning, stacklevel=4)


def _parse_rows(header: bytes, rows: bytes, owners: np.ndarray | None = None) -> pd.DataFrame:
    """Return a table with an empty first column for the trial.

    Args:
        header: First line of the file.
        rows: The lines below.
        owners: Number of the file of each line, if there are several files.

    Raises:
        ValueError: If the rows cannot be parsed, a column is missing, a number is out of range or
            a class appears twice.
    """
    names = header.decode().strip().split(",")
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have the same name")
    if missing := [name for name in _DESCRIPTION if name not in names]:
        raise ValueError(f"it has no column {missing[0]!r}")
    if not rows.endswith(b"\n"):
        raise ValueError("its last line is incomplete")
    dtypes = {name: _AS_READ.get(name, "float64") for name in names}
    # A class may be called "None", so only empty cells are missing values.
    table = pd.read_csv(
        io.BytesIO(rows), names=names, dtype=dtypes, keep_default_na=False,
        na_values={name: [""] for name in names if name not in _AS_READ})
    _check_rows(table, 0 if owners is None else owners)
    table["name"] = table["name"].map(lambda name: visible(unprotect_cell(name)))
    table.insert(0, "trial", "")
    return table


def _check_rows(table: pd.DataFrame, owners: np.ndarray | int) -> None:
    """Raise a ValueError unless the numbers are in range and each class appears once."""
    if np.ndim(owners) and len(table) != len(owners):
        raise ValueError("its lines are not its rows")
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("a line has too many cells")  # noqa: TRY004
    for name in table.columns.difference(list(_AS_READ)):
        values = table[name].to_numpy()
        wrong = values[~((values >= 0) & (values <= _HIGHEST)) & ~np.isnan(values)]
        if len(wrong):
            raise ValueError(f"{name} must be from 0 to 1, got {wrong[0]:g}")
    if (table["instances"] < 0).any():
        raise ValueError(f"instances must be at least 0, got {table['instances'].min()}")
    if unknown := sorted(set(table["role"]) - {"seen", "novel"}):
        raise ValueError(f"role must be seen or novel, got {unknown[0]!r}")
    classes = table[["reading", "category_id"]].assign(owner=owners)
    if (twice := classes.duplicated()).any():
        raise ValueError(f"class {classes['category_id'][twice].iloc[0]} appears twice")


def _class_names(long: pd.DataFrame) -> pd.Series:
    """Return the name of each row's class, followed by its id if the name is not unique."""
    ambiguous = long.groupby("name")["category_id"].transform("nunique") > 1
    with_id = long["name"] + " (" + long["category_id"].astype("string") + ")"
    return long["name"].mask(ambiguous, with_id)


def _check_is_known(metric: str, long: pd.DataFrame) -> None:
    """Raise if trials have metrics by class, but not this one."""
    known = sorted({
        f"{box_source}/{name}" for box_source, rows in long.groupby("reading")
        for name in _metric_columns(long) if rows[name].notna().any()})
    if known and metric not in known:
        more = " and more" if len(known) > _MOST_NAMES else ""
        raise UserError(
            f"No trial has {metric!r} by class.{did_you_mean(metric, known)} Known are "
            f"{', '.join(known[:_MOST_NAMES])}{more}.")


def split_roles(long: pd.DataFrame, split: class_splits.Split) -> pd.Series:
    """Return the role in a split of each row's class; the trials may have different datasets."""
    classes: dict[str, dict[int, str]] = {}
    ids = long["category_id"].tolist()
    for trial, class_id, name in zip(long["trial"], ids, long["name"], strict=True):
        classes.setdefault(trial, {})[class_id] = name
    known: dict[tuple[tuple[int, str], ...], dict[int, class_splits.Role]] = {}
    roles = {}
    for trial, names in classes.items():
        dataset = tuple(names.items())
        if dataset not in known:
            known[dataset] = class_splits.roles(
                split, [Category(class_id, name) for class_id, name in dataset])
        roles[trial] = known[dataset]
    found = [roles[trial][class_id] for trial, class_id in zip(long["trial"], ids, strict=True)]
    return pd.Series(found, index=long.index, dtype="string")
