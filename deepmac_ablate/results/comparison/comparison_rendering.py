"""A comparison as a document: cells and notes for people, records for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from deepmac_ablate.errors import count_noun
from deepmac_ablate.results import number_format
from deepmac_ablate.results.arms import image_notes
from deepmac_ablate.results.comparison.pairing import Sides
from deepmac_ablate.results.comparison.two_arms import Comparison
from deepmac_ablate.results.formats import Document, Section, join_names
from deepmac_ablate.results.tables.references import reference_note

# With more seeds, the range of their differences contains their median with 97 % probability.
_FEW_SEEDS = 5


def render_comparison(comparison: Comparison, images: int) -> Document:
    """Return a comparison for all formats.

    The `kind` of a record is "group", "class", "gain" or "loss" (of an image). All records have the
    keys `metric`, `arm_a`, `arm_b`, and the columns of the data frame of their kind, see
    `Comparison`; those of images are always mask IoU in ground-truth boxes. Numbers are fractions;
    unknown values are null.

    Args:
        comparison: The comparison.
        images: The number of images shown with the largest gains, and with the largest losses.
    """
    gains, losses = most_changed(comparison.images, images)
    tables = {
        "group": comparison.groups, "class": comparison.classes, "gain": gains, "loss": losses}
    sections = [_groups(comparison), _classes(comparison)]
    changed = ("largest gains", gains), ("largest losses", losses)
    sections += [_images(title, table) for title, table in changed if len(table)]
    return Document(sections, comparison_notes(comparison), [
        _record(comparison, kind, row)
        for kind, table in tables.items() for row in table.to_dict("records")])


def most_changed(images: pd.DataFrame, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the images with the largest gains and with the largest losses, the largest first."""
    gains = images[images["difference"] > 0].head(number)
    losses = images[images["difference"] < 0][::-1].head(number)
    return gains, losses


def _groups(comparison: Comparison) -> Section:
    sides = comparison.sides
    title = f"{sides.b} (B) against {sides.a} (A): {number_format.metric_title(comparison.metric)}"
    rows = [
        [row["group"], str(row["count"]),
         *_numbers(row, "*" * (row["excludes_zero"] and not _is_single(sides)))]
        for row in _rows(comparison.groups)]
    return Section(title, ["classes", "number", *_heads(comparison)], rows)


def _classes(comparison: Comparison) -> Section:
    by_size = comparison.classes.sort_values("difference", ascending=False, kind="stable")
    rows = []
    for row in _rows(by_size):
        mark = "*" if row["q"] <= 1 - comparison.confidence else "?" * row["excludes_zero"]
        mark = "" if _is_single(comparison.sides) else mark
        rows.append([row["name"], row["role"], str(row["images"]), *_numbers(row, mark)])
    return Section("by class", ["class", "role", "images", *_heads(comparison)], rows, ["role"])


def _images(title: str, table: pd.DataFrame) -> Section:
    heads = ["image", "objects", "A", "B", "B - A", "classes"]
    rows = [
        [str(row["image_id"]), str(row["instances"]), number_format.percent(row["a"]),
         number_format.percent(row["b"]), number_format.signed(row["difference"]), row["classes"]]
        for row in _rows(table)]
    return Section(f"{title} of mask IoU in ground-truth boxes", heads, rows, ["classes"])


def _heads(comparison: Comparison) -> list[str]:
    return ["A", "B", "B - A", f"{number_format.percent_with_sign(comparison.confidence)} interval"]


def _numbers(row: dict[str, Any], mark: str) -> list[str]:
    interval = number_format.NOTHING
    if pd.notna(row["low"]):
        interval = f"{number_format.limits(row['low'], row['high'])} {mark or ' '}"
    return [
        number_format.percent(row["a"]), number_format.percent(row["b"]),
        number_format.signed(row["difference"]), interval]


def _rows(table: pd.DataFrame) -> Iterable[dict[str, Any]]:
    return table.to_dict("records")


def _record(comparison: Comparison, kind: str, row: dict[str, Any]) -> dict[str, Any]:
    sides = comparison.sides
    return {
        "kind": kind, "metric": comparison.metric, "arm_a": sides.a, "arm_b": sides.b, **row}


def comparison_notes(comparison: Comparison) -> list[str]:
    """Return the notes below a comparison: direction, resamples, number of seeds, false positives.

    Args:
        comparison: The comparison.
    """
    sides = comparison.sides
    confidence = number_format.percent_with_sign(comparison.confidence)
    notes = [
        f"Values in percent. B - A: {sides.b} minus {sides.a}, positive if {sides.b} is better.",
        f"{confidence} percentile intervals over {comparison.resamples} resamples of "
        f"{_resampled(sides)}; both sides share the images of a resample.",
        *_reference_notes(comparison), *_seed_notes(sides), *_class_notes(comparison),
        *_trial_notes(sides)]
    if len(comparison.images) == 0:
        notes.append(
            "Single images are not compared: some trials have no instances.csv.gz, which holds the "
            "IoU of each object.")
    return notes


def _reference_notes(comparison: Comparison) -> list[str]:
    """Return floors and ceiling, once if they are the same for both arms."""
    sides = comparison.sides
    found = [
        reference_note(next(iter(trials.values())), comparison.metric)
        for trials in (sides.trials_a, sides.trials_b)]
    if found[0] == found[1]:
        return found[:1] if found[0] else []
    return [f"{side}: {note}" for side, note in zip("AB", found, strict=True) if note]


def _resampled(sides: Sides) -> str:
    if _is_single(sides):
        return "images"
    if sides.paired:
        return f"images and seeds ({_join_seeds(sides.trials_a)}), paired by seed"
    return (
        f"images and seeds ({sides.a}: {_join_seeds(sides.trials_a)}; {sides.b}: "
        f"{_join_seeds(sides.trials_b)}), unpaired as {sides.unpaired_reason}")


def _is_single(sides: Sides) -> bool:
    """Return whether each side has one trial, so that no interval covers training."""
    return len(sides.trials_a) == len(sides.trials_b) == 1


def _seed_notes(sides: Sides) -> list[str]:
    notes = []
    if sides.left_out:
        notes.append(f"Dropped, on one side only: seeds {_join_seeds(sides.left_out)}.")
    counts = len(sides.trials_a), len(sides.trials_b)
    if max(counts) == 1:
        notes.append(
            "One seed per arm: the intervals do not cover the randomness of training, so nothing "
            "is marked.")
    elif min(counts) == 1:
        one = sides.a if counts[0] == 1 else sides.b
        notes.append(f"One seed of {one}: the intervals do not cover its randomness of training.")
    few = min((n for n in counts if n > 1), default=_FEW_SEEDS + 1)
    if few <= _FEW_SEEDS:
        # The probability that all n differences are on one side of their median is 2 / 2^n.
        coverage = 1.0 - 0.5 ** (few - 1)
        notes.append(
            f"With {few} seeds the intervals are too narrow, and too much is marked, if seeds vary "
            f"more than images: the range of {few} differences covers their median with only "
            f"{100 * coverage:.0f} % probability. 'deepmac-ablate effects' has t intervals over "
            "seeds.")
    return notes


def _class_notes(comparison: Comparison) -> list[str]:
    if _is_single(comparison.sides):
        return []
    tested = comparison.classes.dropna(subset="p")
    rate = 1 - comparison.confidence
    excluding, discovered = int(tested["excludes_zero"].sum()), int((tested["q"] <= rate).sum())
    rate_text = number_format.percent_with_sign(round(rate, 9))
    notes = [
        f"The intervals of {excluding} of {count_noun(len(tested), 'class', 'classes')} exclude 0, "
        f"where chance alone would give {rate * len(tested):.1f}. *: the "
        f"{count_noun(discovered, 'class that remains', 'classes that remain')} at a false "
        f"discovery rate of {rate_text} (Benjamini-Hochberg), and groups whose interval excludes "
        "0; ?: the other classes."]
    # The smallest p value is 2 / (resamples + 1).
    needed = math.ceil(round(2 * len(tested) / rate, 6))
    if comparison.resamples + 1 < needed:
        notes.append(
            f"A single class among {len(tested)} can remain only with {needed - 1} or more "
            "resamples.")
    return notes


def _trial_notes(sides: Sides) -> list[str]:
    notes = [*image_notes(sides.trials)]
    if sides.others:
        notes.append(
            f"Dropped, with another number of steps or a duplicate seed: "
            f"{join_names(sides.others)}.")
    if mixed := [row["trial"] for row in sides.trials if row["code_state"]]:
        notes.append(f"Ran with other code than the present version: {join_names(mixed)}.")
    return notes


def _join_seeds(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
