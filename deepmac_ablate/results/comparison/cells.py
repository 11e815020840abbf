"""A comparison as people read it, in cells, and as programs do, in records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from deepmac_ablate.results import wording
from deepmac_ablate.results.comparison import notes as comparison_notes
from deepmac_ablate.results.comparison.two_arms import Comparison
from deepmac_ablate.results.formats import Document, Section
from deepmac_ablate.results.tables import captions


def document(comparison: Comparison, images: int) -> Document:
    """Returns a comparison for all formats.

    The `kind` of a record is "group", "class", "gain" or "loss" (of an image). All have the keys
    `metric`, `arm_a`, `arm_b`, and the columns of the data frame of their kind, see `Comparison`;
    those of images are about mask IoU in annotated boxes whatever the metric. Numbers are
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
    return Document(sections, comparison_notes.of(comparison), [
        _record(comparison, kind, row)
        for kind, table in tables.items() for row in table.to_dict("records")])


def most_changed(images: pd.DataFrame, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the images of the largest gains and of the largest losses, the largest first."""
    gains = images[images["difference"] > 0].head(number)
    losses = images[images["difference"] < 0][::-1].head(number)
    return gains, losses


def _groups(comparison: Comparison) -> Section:
    sides = comparison.sides
    title = f"{sides.b} (B) against {sides.a} (A): {wording.metric_title(comparison.metric)}"
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
        [str(row["image_id"]), str(row["instances"]), wording.percent(row["a"]),
         wording.percent(row["b"]), _signed(row["difference"]), row["classes"]]
        for row in _rows(table)]
    return Section(f"where mask IoU in annotated boxes {title}", heads, rows)


def _heads(comparison: Comparison) -> list[str]:
    return ["A", "B", "B - A", f"{captions.percent(comparison.confidence)} interval"]


def _numbers(row: dict[str, Any], mark: str) -> list[str]:
    interval = wording.NOTHING
    if pd.notna(row["low"]):
        interval = f"{_signed(row['low'])} to {_signed(row['high'])} {mark or ' '}"
    return [
        wording.percent(row["a"]), wording.percent(row["b"]), _signed(row["difference"]), interval]


def _signed(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def _rows(table: pd.DataFrame) -> Iterable[dict[str, Any]]:
    return table.to_dict("records")


def _record(comparison: Comparison, kind: str, row: dict[str, Any]) -> dict[str, Any]:
    sides = comparison.sides
    return {
        "kind": kind, "metric": comparison.metric, "arm_a": sides.a, "arm_b": sides.b, **row}
