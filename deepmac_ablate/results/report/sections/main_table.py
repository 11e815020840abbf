"""Table of arms for a page: the text of each cell, and the number it is sorted by."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from deepmac_ablate.results import number_format
from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Score, Table
from deepmac_ablate.results.tables.references import Reference
from deepmac_ablate.results.tables.table_notes import at_floor, has_interval, table_notes
from deepmac_ablate.results.tables.table_rendering import (
    count_text,
    marks,
    name_heads,
    reference_label,
    score_text,
)


class Header(NamedTuple):
    """Header of a column.

    Attributes:
        group: Header above, shared by neighbouring columns.
        text: Text of the header.
        meaning: Explanation, shown as a tooltip.
    """

    group: str
    text: str
    meaning: str


class Cell(NamedTuple):
    """Text of a cell, and the number it is sorted by; None sorts last."""

    text: str
    key: float | None


class Line(NamedTuple):
    """Row of the table.

    Attributes:
        arm: Label of the arm, or of a floor or ceiling.
        baseline: True for the baseline.
        marks: " !", " ~" and " *", as in the caption.
        cells: One cell for each header.
    """

    arm: str
    baseline: bool
    marks: str
    cells: Sequence[Cell]


class Group(NamedTuple):
    """Header shared by neighbouring columns, and their number."""

    text: str
    columns: int


class MainTable(NamedTuple):
    """Table without empty columns.

    Attributes:
        headers: Headers of all columns except the first, which names the arms.
        lines: One row for each arm.
        references: One row for each floor and ceiling of mask IoU.
        caption: Sentences that explain the table.
        has_intervals: True if any number has an interval.
    """

    headers: Sequence[Header]
    lines: Sequence[Line]
    references: Sequence[Line]
    caption: Sequence[str]
    has_intervals: bool

    @property
    def groups(self) -> list[Group]:
        """Headers above the headers."""
        runs = itertools.groupby(self.headers, key=lambda header: header.group)
        return [Group(text, len(list(run))) for text, run in runs]


def make_main_table(table: Table) -> MainTable:
    """Lay out a table with one metric for a page."""
    [metric] = table.metrics
    has_intervals = any(map(has_interval, table.rows))
    headers, rows = _headers(has_intervals), [_cells(row, metric, table) for row in table.rows]
    kept = [
        place for place in range(len(headers))
        if any(cells[place].text != number_format.NOTHING for cells in rows)]
    lines = [
        Line(_name(row, table), row.baseline, marks(row), [cells[place] for place in kept])
        for row, cells in zip(table.rows, rows, strict=True)]
    references = [
        Line(reference_label(each, table), False, "", [
            _reference_cell(each, headers[place]) for place in kept])
        for each in table.references[metric]]
    return MainTable(
        [headers[place] for place in kept], lines, references, table_notes(table), has_intervals)


def _reference_cell(reference: Reference, header: Header) -> Cell:
    """Return the mean or the gap of a reference; other columns are empty."""
    values = {
        (f"{classes} classes", "mean"): getattr(reference, classes) for classes in CLASSES}
    values["novel and seen", "gap"] = reference.gap
    value = values.get((header.group, header.text))
    return Cell("" if value is None else number_format.percent(value), value)


def _name(row: Row, table: Table) -> str:
    """Return the label of an arm, preceded by its sweep where there are several."""
    apart = "sweep" in name_heads(table) and row.arm.sweep
    return f"{row.arm.sweep}/{row.arm.label}" if apart else row.arm.label


def _headers(has_intervals: bool) -> list[Header]:
    mean = "mean over finished seeds" + (", with its interval" if has_intervals else "")
    headers = [Header("trials", "finished", "finished trials out of all")]
    for classes in CLASSES:
        group = f"{classes} classes"
        headers += [
            Header(group, "mean", mean),
            Header(group, "Δ", "difference from the baseline, paired by seed"),
            Header(group, "p", "p-value of the difference, Holm-corrected")]
    return [
        *headers,
        Header("novel and seen", "gap", "seen minus novel, within each seed"),
        Header("novel and seen", "ret.",
               "retention: novel classes relative to the same classes under full supervision"),
        Header("cost", "parameters", "parameters of the model, in millions"),
        Header("cost", "training", "multiply-adds of training relative to the baseline"),
        Header("cost", "time", "training time, mean over finished trials")]


def _cells(row: Row, metric: str, table: Table) -> list[Cell]:
    scores, n = row.scores[metric], len(row.arm.finished)
    parameters = row.arm.known_values("parameters")
    cells = [Cell(count_text(row), n)]
    cells += [
        cell for classes in CLASSES
        for cell in _score(getattr(scores, classes), n, at_floor(row, metric, classes, table))]
    cells += [
        Cell(number_format.interval(score, n), _number(score.mean))
        for score in (scores.gap, scores.retention)]
    return [
        *cells,
        Cell(f"{parameters[0] / 1e6:.2f} M" if parameters else number_format.NOTHING,
             parameters[0] if parameters else None),
        Cell(number_format.NOTHING if row.relative_gmacs is None else f"{row.relative_gmacs:.2f} x",
             row.relative_gmacs),
        Cell(number_format.duration(row.train_seconds), row.train_seconds)]


def _score(score: Score, n: int, marked: bool | None) -> list[Cell]:
    value = Cell(score_text(score.value, n, marked), _number(score.value.mean))
    if score.difference is None:
        return [value, *[Cell(number_format.NOTHING, None)] * 2]
    return [
        value, Cell(number_format.difference(score.difference, n), _number(score.difference.mean)),
        Cell(number_format.p_value(score.p_holm), score.p_holm)]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
