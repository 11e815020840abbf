"""First screen of a report: the largest difference that the data show, or that they show none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from deepmac_ablate.errors import count_noun
from deepmac_ablate.results import number_format
from deepmac_ablate.results.formats import join_names
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures.arms_plot import draw_arms
from deepmac_ablate.results.report.figures.differences_plot import (
    DrawnDifference,
    draw_differences,
)
from deepmac_ablate.results.report.selection import most_informative_arms
from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Score, Table
from deepmac_ablate.results.tables.table_notes import at_floor

# More arms would push the rest of the page away.
_MAX_ARMS = 8
# Narrower than other figures, as it stands beside the text, and on a phone at the first look.
_INCHES_WIDE = 4.6


class Answer(NamedTuple):
    """Answer to the question of a sweep, as far as its trials give one.

    Attributes:
        headline: The largest difference that the data show, or that they show none.
        details: Further sentences.
        figure: Picture of it; None before the first trial has finished.
        caption: How to read the figure.
    """

    headline: str
    details: Sequence[str]
    figure: Figure | None
    caption: str


class _Comparison(NamedTuple):
    """Difference of an arm from its baseline on some classes."""

    row: Row
    classes: str
    score: Score

    @property
    def size(self) -> float:
        """The absolute difference, a fraction."""
        return abs(self.score.difference.mean)

    def describe(self, metric: str) -> str:
        """Return the arms, and the difference with its interval and what it is of."""
        return (
            f"{self.row.arm.label} against {self.row.against}, "
            f"{number_format.difference(self.score.difference)} points of {metric_title(metric)} "
            f"on {self.classes} classes")


def find_answer(table: Table) -> Answer:
    """Return the answer that a table with one metric gives.

    The data show a difference if its p value is below 1 - confidence after Holm's correction for
    all differences of the table. A single pair of seeds shows nothing.
    """
    [metric] = table.metrics
    compared = [
        _Comparison(row, classes, score) for row in table.rows for classes in CLASSES
        if (score := getattr(row.scores[metric], classes)).difference is not None
        and score.difference.n]
    floors = list(_describe_floors(table, metric))
    if not compared:
        arms, note = most_informative_arms([row.arm for row in table.rows], metric, _MAX_ARMS)
        figure = draw_arms(arms, metric, table.confidence)
        if figure is None:
            return Answer("No trial has finished yet.", (), None, "")
        return Answer(
            "There is no difference to report: no arm has a finished seed in common with a "
            "baseline of the same classes.", floors, figure, f"Results of each arm. {note}".strip())
    by_size = sorted(compared, key=lambda each: -each.size)
    tested = [each for each in by_size if each.score.p_holm is not None]
    caption = "Difference of each arm from the baseline, paired by seed."
    if tested:
        caption += f" Lines are {_interval_name(table)}s over seeds."
    shown = [each for each in tested if _is_shown(each, table)]
    labels = list(dict.fromkeys(each.row.arm.label for each in [*shown, *by_size]))
    if len(labels) > _MAX_ARMS:
        caption += (
            f" Showing {_MAX_ARMS} of {len(labels)} arms, those with the largest differences.")
    figure = draw_differences([
        DrawnDifference(each.row.arm.label, each.classes, each.score.difference)
        for each in compared if each.row.arm.label in labels[:_MAX_ARMS]],
        f"difference of {metric_title(metric)}", _INCHES_WIDE)
    return Answer(_headline(tested, by_size[0], table),
                  [*_describe_tests(tested, compared, table), *floors], figure, caption)


def _headline(tested: Sequence[_Comparison], largest: _Comparison, table: Table) -> str:
    """Return the first sentences.

    Args:
        tested: The comparisons with a test, the largest difference first.
        largest: The largest difference of all comparisons.
        table: The table.
    """
    [metric] = table.metrics
    if not tested and not largest.size:
        return "No difference: all arms equal the baseline in every seed."
    if not tested:
        return (
            "The data cannot show a difference, as each rests on one pair of seeds. The largest "
            f"is that of {largest.describe(metric)}.")
    shown = [each for each in tested if _is_shown(each, table)]
    first = (shown or tested)[0]
    evidence = (
        f"({_interval_name(table)} over {count_noun(first.score.difference.n, 'seed')}, "
        f"p {_p_text(first, table)})")
    if shown:
        return f"Largest difference: {first.describe(metric)} {evidence}."
    return (
        "The data show no difference. The largest, which may be chance, is that of "
        f"{first.describe(metric)} {evidence}.")


def _describe_tests(
    tested: Sequence[_Comparison], compared: Sequence[_Comparison], table: Table
) -> Iterator[str]:
    """Yield sentences about the other classes, the correction, and what is not tested."""
    if not tested:
        return
    shown = [each for each in tested if _is_shown(each, table)]
    for classes in CLASSES if shown else ():
        of_classes = [each for each in tested if each.classes == classes]
        if of_classes and classes != shown[0].classes:
            largest = next((each for each in of_classes if each in shown), of_classes[0])
            verdict = "" if largest in shown else ", which may be chance"
            yield (
                f"On {classes} classes: {largest.row.arm.label}, "
                f"{number_format.difference(largest.score.difference)} points "
                f"(p {_p_text(largest, table)}){verdict}.")
    yield (
        f"The data show {len(shown)} of {count_noun(len(tested), 'difference')}: p below "
        f"{1 - table.confidence:.2g} after Holm's correction for their number.")
    single = dict.fromkeys(
        each.row.arm.label for each in compared if each.score.difference.n == 1)
    if single:
        yield f"One pair of seeds, so neither interval nor test: {join_names(single)}."


def _describe_floors(table: Table, metric: str) -> Iterator[str]:
    """Yield a sentence about the arms whose masks are not above the floor."""
    for classes in CLASSES:
        arms = [row.arm.label for row in table.rows if at_floor(row, metric, classes, table)]
        if arms:
            yield (
                f"At the floor on {classes} classes, no better than filled boxes or ellipses as "
                f"far as the data show: {join_names(arms)}.")


def _is_shown(comparison: _Comparison, table: Table) -> bool:
    return comparison.score.p_holm < 1 - table.confidence


def _interval_name(table: Table) -> str:
    return f"{number_format.percent_with_sign(table.confidence)} t interval"


def _p_text(comparison: _Comparison, table: Table) -> str:
    """Return a corrected p value that does not look like the threshold if it is below it."""
    text = number_format.p_value(comparison.score.p_holm)
    threshold = f"{1 - table.confidence:.2g}"
    return f"<{threshold}" if _is_shown(comparison, table) and text.startswith(threshold) else text
