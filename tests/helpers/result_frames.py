"""Small frames as returned by `results.load` and `results.per_class`, and cells of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from deepmac_ablate.results.columns import FIXED, axis_column


def arm(
    label: str,
    numbers: Mapping[str, Sequence[float | None]],
    levels: Mapping[str, str] | None = None,
    statuses: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    **fields: Any,
) -> list[dict[str, Any]]:
    """Return the trials of an arm, one for each seed.

    Args:
        label: The label of the arm.
        numbers: The metrics by column, such as "groundtruth/iou/novel", with one value per seed;
            values of unfinished trials are ignored.
        levels: The levels by axis; by default an axis named "axis" has the label as its level.
        statuses: The status for each seed; by default all trials are finished.
        seeds: The seeds of the trials.
        **fields: The values of other fixed columns, for all trials of the arm.
    """
    rows = []
    for place, seed in enumerate(seeds):
        status = "finished" if statuses is None else statuses[place]
        row: dict[str, Any] = {
            "trial": f"{label}-{seed}", "sweep": "sweep", "arm": label, "baseline": False,
            "seed": seed, "status": status, "cause": "", "step": 100, "steps": 100, "attempts": 1,
            "dataset": "val@1", "code_state": "", "commit": "abc", "folder": "", **fields,
        }
        row |= {axis_column(axis): level for axis, level in (levels or {"axis": label}).items()}
        if status == "finished":
            row |= {column: values[place] for column, values in numbers.items()}
        rows.append(row)
    return rows


def frame(*arms: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the data frame of some arms, with the dtypes of the real one."""
    made = pd.DataFrame([row for rows in arms for row in rows])
    made = made.reindex(columns=[*FIXED, *(name for name in made if name not in FIXED)])
    kinds = {name: "Float64" if "/" in name else "string" for name in made if name not in FIXED}
    return made.astype(kinds | {name: column.dtype for name, column in FIXED.items()})


def per_class(
    trials: Sequence[str],
    roles: Mapping[str, str],
    numbers: Mapping[str, Sequence[float | None]],
    reading: str = "groundtruth",
    metric: str = "iou",
) -> pd.DataFrame:
    """Return the rows by class of some trials for one box source and metric.

    Args:
        trials: The ids of the trials.
        roles: "seen" or "novel" by the name of the class; class ids are counted from 1.
        numbers: The values by class, one per trial.
        reading: The box source.
        metric: The name of the metric.
    """
    rows = [
        {"trial": trial, "reading": reading, "category_id": number, "name": name,
         "role": roles[name], "instances": 10, metric: numbers[name][place]}
        for place, trial in enumerate(trials) for number, name in enumerate(roles, 1)
    ]
    kinds = {"trial": "string", "reading": "string", "name": "string", "role": "string"}
    return pd.DataFrame(rows).astype(kinds | {metric: "Float64"})


def cells_of(shown: str, label: str) -> list[list[str]]:
    """Return the cells, without the label, of the rows with a label in Markdown tables."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()]
    return [row[1:] for row in rows if row and row[0] == label]
