"""The table of arms for a page: cells as people read them, and what they are sorted by."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from deepmac_ablate.results import number_format
from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Score, Table
from deepmac_ablate.results.tables.table_rendering import count_text, table_notes


class Head(NamedTuple):
    """The head of a column, below that of its group; a longer text says what it means."""

    group: str
    text: str
    meaning: str


class Cell(NamedTuple):
    """A cell's text, and the number by which it is sorted; None where there is nothing to sort."""

    text: str
    key: float | None


class Line(NamedTuple):
    """An arm, whether it is the baseline or of other code, and its cells."""

    arm: str
    baseline: bool
    other_code: bool
    cells: Sequence[Cell]


class Group(NamedTuple):
    """The head of neighbouring columns, and how many these are."""

    text: str
    columns: int


class MainTable(NamedTuple):
    """The table, of which no column is empty.

    Attributes:
        heads: Of the columns but the first, which names the arms.
        lines: One for each arm.
        caption: Sentences that belong to it.
    """

    heads: Sequence[Head]
    lines: Sequence[Line]
    caption: Sequence[str]

    @property
    def groups(self) -> list[Group]:
        """The heads above the heads."""
        runs = itertools.groupby(self.heads, key=lambda head: head.group)
        return [Group(text, len(list(run))) for text, run in runs]


def make(table: Table) -> MainTable:
    """Return a table of one metric for a page."""
    heads, rows = _heads(), [_cells(row, table.metrics[0]) for row in table.rows]
    kept = [
        place for place in range(len(heads))
        if any(cells[place].text != number_format.NOTHING for cells in rows)]
    lines = [
        Line(row.arm.label, row.baseline, row.arm.other_code, [cells[place] for place in kept])
        for row, cells in zip(table.rows, rows, strict=True)]
    return MainTable([heads[place] for place in kept], lines, table_notes(table))


def _heads() -> list[Head]:
    heads = [Head("trials", "finished", "trials that have finished, of all")]
    for classes in CLASSES:
        group = f"{classes} classes"
        heads += [
            Head(group, "mean", "mean over finished seeds, with its interval"),
            Head(group, "Δ", "difference to the baseline, paired by seed"),
            Head(group, "p", "of the difference, corrected by Holm's method")]
    return [
        *heads,
        Head("novel and seen", "gap", "seen minus novel, within each seed"),
        Head("novel and seen", "ret.", "share that novel classes keep of full supervision"),
        Head("cost", "parameters", "of the model, in millions"),
        Head("cost", "training", "multiply-adds of training over the baseline's"),
        Head("cost", "time", "of training, mean over finished trials")]


def _cells(row: Row, metric: str) -> list[Cell]:
    scores, n = row.scores[metric], len(row.arm.finished)
    parameters = row.arm.known_values("parameters")
    cells = [Cell(count_text(row), n)]
    cells += [cell for classes in CLASSES for cell in _score(getattr(scores, classes), n)]
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


def _score(score: Score, n: int) -> list[Cell]:
    value = Cell(number_format.interval(score.value, n), _number(score.value.mean))
    if score.difference is None:
        return [value, *[Cell(number_format.NOTHING, None)] * 2]
    return [
        value, Cell(number_format.difference(score.difference, n), _number(score.difference.mean)),
        Cell(number_format.p_value(score.p_holm), score.p_holm)]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
