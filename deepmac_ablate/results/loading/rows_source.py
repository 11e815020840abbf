"""Source for the trials of a CSV file from ``deepmac-ablate rows``."""

from __future__ import annotations

import csv
import functools
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepmac_ablate.errors import UserError
from deepmac_ablate.results import columns
from deepmac_ablate.results.loading.source import TrialRecord
from deepmac_ablate.safe_text import unprotect_cell
from deepmac_ablate.storage import file_io

# Of the fixed columns, those that a record has not; `folder` would name one of another machine.
_LEFT_OUT = ("code_state", "folder")


class RowsFileSource:
    """A source of the trials of a file written by ``deepmac-ablate rows --per trial``.

    The numbers are those of the file; files of the trials, such as results by class, are not
    available.

    Args:
        path: The path of the CSV file.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def axes(self) -> Sequence[str]:
        """Return the axes, in the order of their columns."""
        heads, _ = self._content
        return [columns.axis_name(head) for head in heads if _is_axis(head)]

    def trials(self) -> Iterable[TrialRecord]:
        """Return the trials in the order of the rows.

        Raises:
            UserError: If the file is not such a CSV file, or a number in it is none.
        """
        _, rows = self._content
        return [self._record(number, row) for number, row in enumerate(rows, 2)]

    @functools.cached_property
    def _content(self) -> tuple[Sequence[str], list[dict[str, str]]]:
        try:
            text = (file_io.read(self._path) or b"").decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{self._path} is not text in UTF-8.") from error
        reader = csv.DictReader(io.StringIO(text))
        heads = [unprotect_cell(head) for head in reader.fieldnames or ()]
        reader.fieldnames = heads
        if missing := [name for name in ("trial", "arm", "seed", "status") if name not in heads]:
            raise UserError(
                f"{self._path} is no table of trials: it has no column {missing[0]!r}; "
                "'deepmac-ablate rows --per trial --output FILE.csv' writes one.")
        return heads, list(reader)

    def _record(self, number: int, row: Mapping[str, str | None]) -> TrialRecord:
        cells = {head: cell for head, cell in row.items() if cell}
        fixed = {
            name: self._value(number, name, cells[name]) for name in columns.FIXED
            if name in cells and name not in _LEFT_OUT}
        levels = {
            columns.axis_name(head): unprotect_cell(cell)
            for head, cell in cells.items() if _is_axis(head)}
        metrics = {
            head: self._value(number, head, cells[head]) if head in cells else math.nan
            for head in row if head.count("/") >= 2}
        return TrialRecord(
            **fixed, levels=levels, metrics=metrics if fixed.get("status") == "finished" else {})

    def _value(self, number: int, name: str, cell: str) -> Any:  # noqa: ANN401
        """Return the value of a cell in the type of its column."""
        dtype = columns.FIXED[name].dtype if name in columns.FIXED else "Float64"
        if dtype == "string":
            return unprotect_cell(cell)
        if dtype == "boolean" and cell in ("True", "False"):
            return cell == "True"
        try:
            return {"Int64": int, "Float64": float}[dtype](cell)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"Line {number} of {self._path}: {name} must be "
                f"{'True or False' if dtype == 'boolean' else 'a number'}, got {cell!r}."
            ) from error


def _is_axis(head: str) -> bool:
    return head not in columns.FIXED and "/" not in head
