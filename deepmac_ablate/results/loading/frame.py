"""Records as a data frame, see `columns`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from deepmac_ablate.results import columns
from deepmac_ablate.results.loading.source import Record
from deepmac_ablate.trial import provenance


def of_records(records: Sequence[Record], axes: Iterable[str]) -> pd.DataFrame:
    """Return one row per record, in their order.

    Args:
        records: Of trials.
        axes: The axes that come first, in order; those that records have beside them follow.
    """
    values = {name: [getattr(it, name) for it in records] for name in Record._fields}
    # It depends on the present code, so that no source knows it.
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
    return pd.DataFrame(arrays | _numbers(records))


def with_numbers(
    frame: pd.DataFrame, added: Mapping[str, pd.api.extensions.ExtensionArray]
) -> pd.DataFrame:
    """Return a frame with columns of numbers added or replaced, sorted again.

    Args:
        frame: What `of_records` returned.
        added: By the names of the columns.
    """
    kept = {name: frame[name].array for name in frame.columns}
    numbers = {name: kept.pop(name) for name in columns.metrics(frame)} | dict(added)
    return pd.DataFrame(kept | {name: numbers[name] for name in sorted(numbers)})


def _masked(values: np.ndarray) -> pd.api.extensions.ExtensionArray:
    """Return numbers as a column has them: missing where they are no numbers."""
    return pd.arrays.FloatingArray(values, np.isnan(values))


def _numbers(records: Sequence[Record]) -> dict[str, pd.api.extensions.ExtensionArray]:
    """Return the columns of numbers, sorted by name."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, record in enumerate(records):
        groups.setdefault(tuple(record.metrics), []).append(row)
    names = sorted({name for group in groups for name in group})
    place = {name: number for number, name in enumerate(names)}
    table = np.full((len(names), len(records)), np.nan)
    # Trials of a sweep have numbers of the same names, so that whole blocks are set at once.
    for group, rows in groups.items():
        block = np.array([list(records[row].metrics.values()) for row in rows], dtype=float)
        table[np.ix_([place[name] for name in group], rows)] = block.T
    return {name: _masked(table[number]) for name, number in place.items()}
