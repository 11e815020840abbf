"""The data frame of results, built from the records of trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from deepmac_ablate.results import columns
from deepmac_ablate.results.loading.source import TrialRecord
from deepmac_ablate.trial import provenance


def frame_of_records(records: Sequence[TrialRecord], axes: Iterable[str]) -> pd.DataFrame:
    """Return a data frame with one row per record, in their order, see `columns`.

    Args:
        records: The records of the trials.
        axes: The axes that come first, in order; other axes of the records follow.
    """
    values = {
        name: [getattr(record, name) for record in records] for name in TrialRecord._fields}
    # Computed here, because it depends on the present code.
    values["code_state"] = [
        provenance.code_state(starts, provenance.current_code(starts)) if starts else ""
        for starts in values["starts"]]
    arrays = {
        name: pd.array(values[name], dtype=column.dtype) for name, column in columns.FIXED.items()}
    names = dict.fromkeys(axes) | dict.fromkeys(
        name for levels in values["levels"] for name in levels)
    for name in names:
        arrays[columns.axis_column(name)] = pd.array(
            [levels.get(name) for levels in values["levels"]], dtype="string")
    return pd.DataFrame(arrays | _metric_arrays(records))


def with_metrics(
    frame: pd.DataFrame, added: Mapping[str, pd.api.extensions.ExtensionArray]
) -> pd.DataFrame:
    """Return a frame with columns of metrics added or replaced, sorted by name.

    Args:
        frame: The frame from `frame_of_records`.
        added: The new columns by name.
    """
    kept = {name: frame[name].array for name in frame.columns}
    metrics = {name: kept.pop(name) for name in columns.metrics(frame)} | dict(added)
    made = pd.DataFrame(kept | {name: metrics[name] for name in sorted(metrics)})
    made.attrs = frame.attrs
    return made


def _metric_arrays(records: Sequence[TrialRecord]) -> dict[str, pd.api.extensions.ExtensionArray]:
    """Return the columns of metrics, sorted by name."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, record in enumerate(records):
        groups.setdefault(tuple(record.metrics), []).append(row)
    names = sorted({name for group in groups for name in group})
    position = {name: number for number, name in enumerate(names)}
    table = np.full((len(names), len(records)), np.nan)
    # Trials of a sweep have the same metrics, so whole blocks are filled at once.
    for group, rows in groups.items():
        block = np.array([list(records[row].metrics.values()) for row in rows], dtype=float)
        table[np.ix_([position[name] for name in group], rows)] = block.T
    return {
        name: pd.arrays.FloatingArray(table[number], np.isnan(table[number]))
        for name, number in position.items()}
