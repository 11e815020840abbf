"""A comparison as people read it, in cells, and as programs do, in records."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from deepmac_ablate.results import number_format
from deepmac_ablate.results.comparison.pairing import Sides
from deepmac_ablate.results.comparison.two_arms import Comparison
from deepmac_ablate.results.formats import Document, Section
from deepmac_ablate.results.tables import rendering


def document(comparison: Comparison, images: int) -> Document:
    """Return a comparison for all formats.

    The `kind` of a record is "group", "class", "gain" or "loss" (of an image). All have the keys
    `metric`, `arm_a`, `arm_b`, and the columns of the data frame of their kind, see `Comparison`;
    those of images are about mask IoU in ground-truth boxes whatever the metric. Numbers are
    fractions; what is not known is null.

    Args:
        comparison: The comparison.
        images: How many of the images that gain most are shown, and of those that lose most.
    """
    gains, losses = most_changed(comparison.images, images)
    tables = {
        "group": comparison.groups, "class": comparison.classes, "gain": gains, "loss": losses}
    sections = [_groups(comparison), _classes(comparison)]
    changed = ("gains most", gains), ("loses most", losses)
    sections += [_images(title, table) for title, table in changed if len(table)]
    return Document(sections, comparison_notes(comparison), [
        _record(comparison, kind, row)
        for kind, table in tables.items() for row in table.to_dict("records")])


def most_changed(images: pd.DataFrame, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the images of the largest gains and of the largest losses, the largest first."""
    gains = images[images["difference"] > 0].head(number)
    losses = images[images["difference"] < 0][::-1].head(number)
    return gains, losses


def _groups(comparison: Comparison) -> Section:
    sides = comparison.sides
    title = f"{sides.b} (B) against {sides.a} (A): {number_format.metric_title(comparison.metric)}"
    rows = [
        [row["group"], str(row["count"]), *_numbers(row, "*" * row["excludes_zero"])]
        for row in _rows(comparison.groups)]
    return Section(title, ["classes", "number", *_heads(comparison)], rows)


def _classes(comparison: Comparison) -> Section:
    by_size = comparison.classes.sort_values("difference", ascending=False, kind="stable")
    rows = []
    for row in _rows(by_size):
        mark = "*" if row["q"] <= 1 - comparison.confidence else "?" * row["excludes_zero"]
        rows.append([row["name"], row["role"], str(row["images"]), *_numbers(row, mark)])
    return Section("by class", ["class", "role", "images", *_heads(comparison)], rows)


def _images(title: str, table: pd.DataFrame) -> Section:
    heads = ["image", "objects", "A", "B", "B - A", "classes"]
    rows = [
        [str(row["image_id"]), str(row["instances"]), number_format.percent(row["a"]),
         number_format.percent(row["b"]),
        _signed(row["difference"]), row["classes"]]
        for row in _rows(table)]
    return Section(f"where mask IoU in ground-truth boxes {title}", heads, rows)


def _heads(comparison: Comparison) -> list[str]:
    return ["A", "B", "B - A", f"{rendering.percent(comparison.confidence)} interval"]


def _numbers(row: dict[str, Any], mark: str) -> list[str]:
    interval = number_format.NOTHING
    if pd.notna(row["low"]):
        interval = f"{_signed(row['low'])} to {_signed(row['high'])} {mark or ' '}"
    return [
        number_format.percent(row["a"]), number_format.percent(row["b"]),
        _signed(row["difference"]), interval]


def _signed(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def _rows(table: pd.DataFrame) -> Iterable[dict[str, Any]]:
    return table.to_dict("records")


def _record(comparison: Comparison, kind: str, row: dict[str, Any]) -> dict[str, Any]:
    sides = comparison.sides
    return {
        "kind": kind, "metric": comparison.metric, "arm_a": sides.a, "arm_b": sides.b, **row}


# With more seeds the range of their differences holds their median 97 % of the time.
_FEW_SEEDS = 5


def comparison_notes(comparison: Comparison) -> list[str]:
    """Return the sentences: direction, what was drawn, what it is worth, what is chance."""
    sides = comparison.sides
    held = rendering.percent(comparison.confidence)
    sentences = [
        f"In percent; B - A: {sides.b} minus {sides.a}, above 0 where {sides.b} is better.",
        f"Intervals hold {held} of {comparison.resamples} resamples of {_drawn(sides)}; both sides "
        "share the images of a resample.",
        *_of_seeds(sides), *_chance(comparison), *_doubts(sides)]
    if len(comparison.images) == 0:
        sentences.append(
            "Single images are not compared, as not all trials have kept the IoU of each object "
            "(instances.csv.gz).")
    return sentences


def _drawn(sides: Sides) -> str:
    n, m = len(sides.trials_a), len(sides.trials_b)
    if n == m == 1:
        return "the images alone"
    if sides.paired:
        return f"the images and of {n} pairs of trials of one seed ({_listed(sides.trials_a)})"
    return (
        f"the images and, as no seed is on both sides, of the seeds of each ({sides.a}: "
        f"{_listed(sides.trials_a)}; {sides.b}: {_listed(sides.trials_b)})")


def _of_seeds(sides: Sides) -> list[str]:
    sentences = []
    if sides.left_out:
        sentences.append(f"Left out, as only one side has them: seeds {_listed(sides.left_out)}.")
    counts = len(sides.trials_a), len(sides.trials_b)
    if max(counts) == 1:
        sentences.append(
            f"There is one {'pair of seeds' if sides.paired else 'seed on each side'}: the "
            "intervals say nothing about what other seeds would give.")
    elif min(counts) == 1:
        one = sides.a if counts[0] == 1 else sides.b
        sentences.append(
            f"There is one seed of {one}: the intervals say nothing about what others would give.")
    few = min((n for n in counts if n > 1), default=_FEW_SEEDS + 1)
    if few <= _FEW_SEEDS:
        # Order statistics: all n differences are on one side of their median with 2 / 2^n.
        held = 1.0 - 0.5 ** (few - 1)
        sentences.append(
            f"Where seeds matter more than images, {few} of them are few for such an interval: the "
            f"range of {few} differences holds their median {100 * held:.0f} % of the time, and "
            "the marks claim too much; the command effects has t intervals over seeds.")
    return sentences


def _chance(comparison: Comparison) -> list[str]:
    tested = comparison.classes.dropna(subset="p")
    false = 1 - comparison.confidence
    excluding, believed = int(tested["excludes_zero"].sum()), int((tested["q"] <= false).sum())
    sentences = [
        f"The intervals of {excluding} of {len(tested)} classes exclude 0; "
        f"{false * len(tested):.1f} would by chance if no class differed. * marks the {believed} "
        f"that remain at a false discovery rate of {rendering.percent(round(false, 9))} "
        "(Benjamini-Hochberg), and groups whose interval excludes 0; ? the other classes."]
    # The least p value is 2 / (resamples + 1).
    needed = math.ceil(round(2 * len(tested) / false, 6))
    if comparison.resamples + 1 < needed:
        sentences.append(
            f"A single class among {len(tested)} can remain from {needed - 1} resamples on.")
    return sentences


def _doubts(sides: Sides) -> list[str]:
    sentences = []
    if sides.others:
        sentences.append(
            "Left out, as they share an arm's name but not its steps, or have a seed that is there "
            f"already: {rendering.names(sides.others)}.")
    if mixed := [row["trial"] for row in sides.trials if row["code_state"]]:
        sentences.append(
            "Trials of other code than the present one, or of several, take part: "
            f"{rendering.names(mixed)}.")
    return sentences


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
