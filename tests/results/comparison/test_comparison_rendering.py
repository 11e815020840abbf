"""Comparisons of two arms as documents: percentages and notes for people, records for programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import pandas as pd
import pytest

from deepmac_ablate.results import formats as table_formats
from deepmac_ablate.results.comparison.comparison_rendering import (
    comparison_notes,
    render_comparison,
)
from deepmac_ablate.results.comparison.two_arms import compare
from tests.helpers import compared_trials
from tests.helpers.compared_trials import objects

DRAWS = 100


@pytest.mark.parametrize(
    ("seeds", "note"),
    [
        ({"a": [0, 1, 2], "b": [2, 0, 1]},
         "100 resamples of images and seeds (0, 1, 2), paired by seed; both"),
        ({"a": [0, 1, 2], "b": [2, 0, 1]},
         "With 3 seeds the intervals are too narrow, and too much is marked, if seeds vary more"),
        ({"a": [0, 1, 2], "b": [2, 0, 1]},
         "the range of 3 differences covers their median with only 75 % probability"),
        ({"a": [0, 1], "b": [1, 0, 5]}, "Dropped, on one side only: seeds 5."),
        ({"a": [0, 1], "b": [3]},
         "images and seeds (a: 0, 1; b: 3), unpaired as the sides share no seed; both"),
        ({"a": [0, 1], "b": [3]}, "One seed of b: the intervals do not cover its randomness"),
        ({"a": [4], "b": [4]}, "100 resamples of images; both"),
        ({"a": [4], "b": [4]}, "One seed per arm: the intervals do not cover the randomness of"),
        ({"a": [4], "b": [5]}, "One seed per arm: the intervals do not cover the randomness of"),
        ({"a": [4, 5], "b": [4, 5]},
         "of 0 of 3 classes exclude 0, where chance alone would give 0.2."),
    ])
def test_notes_describe_the_resamples(tmp_path, seeds, note):
    """Notes state the seeds that were resampled, the seeds that were dropped, and the coverage."""
    frame = compared_trials.arms(tmp_path, seeds, lambda *_: objects())
    notes = " ".join(comparison_notes(compare(frame, "a", "b", resamples=DRAWS)))
    assert note in notes
    assert notes.startswith("Values in percent. B - A: b minus a, positive if b is better.")


def test_floors_and_ceiling_are_beside_the_numbers(tmp_path):
    """Once where both arms have the same; for mask IoU only."""
    frame = compared_trials.arms(tmp_path, {"a": [0], "b": [0]}, lambda *_: objects())
    assert "Floors" not in " ".join(comparison_notes(compare(frame, "a", "b", resamples=DRAWS)))
    for name, value in (("iou_filled_box", 0.5), ("iou_ellipse", 0.625), ("iou_ceiling", 0.96)):
        frame[f"groundtruth/{name}/novel"] = value
        frame[f"groundtruth/{name}/seen"] = value + 0.01
    expected = (
        "Floors and ceiling: filled box novel 50.0, seen 51.0; inscribed ellipse novel 62.5, seen "
        "63.5; annotation novel 96.0, seen 97.0.")
    assert expected in comparison_notes(compare(frame, "a", "b", resamples=DRAWS))
    frame.loc[frame["arm"] == "b", "groundtruth/iou_ceiling/novel"] = 0.9
    notes = comparison_notes(compare(frame, "a", "b", resamples=DRAWS))
    assert f"A: {expected}" in notes
    assert f"B: {expected.replace('96.0', '90.0')}" in notes


def test_people_read_percent(shifted):
    """The document has percentages of groups, classes sorted by difference, and images."""
    compared = compare(shifted, "a", "b", resamples=119)
    shown = render_comparison(compared, 1)
    groups, classes, gains, losses = shown.sections
    assert "b (B) against a (A): mask IoU in ground-truth boxes" == groups.title
    assert ["classes", "number", "A", "B", "B - A", "95 % interval"] == list(groups.heads)
    assert ["seen", "novel", "all"] == [row[0] for row in groups.rows]
    assert ["dog", "cup", "cat"] == [row[0] for row in classes.rows]
    dog, cup, _ = classes.rows
    value = compared.classes.set_index("name").loc["dog"]
    low, high = 100 * value["low"], 100 * value["high"]
    assert [f"{100 * value['a']:.1f}", f"{100 * value['b']:.1f}",
            f"{100 * value['difference']:+.1f}", f"{low:+.1f} to {high:+.1f} *"] == dog[3:]
    assert ["+0.0", "+0.0 to +0.0  "] == cup[5:]
    assert "largest gains of mask IoU in ground-truth boxes" == gains.title
    assert "1" == losses.rows[0][0]
    assert "The intervals of 1 of 3 classes exclude 0, where chance alone would give 0.2." in (
        " ".join(shown.caption))


def test_classes_that_may_be_chance_are_marked(shifted):
    """A class whose interval excludes 0 but whose corrected p does not is marked with "?"."""
    compared = compare(shifted, "a", "b", resamples=DRAWS)
    doubtful = compared.classes.assign(q=[1.0, 0.051, 1.0])
    shown = render_comparison(dataclasses.replace(compared, classes=doubtful), 0)
    assert shown.sections[1].rows[0][-1].endswith(" ?")
    assert 2 == len(shown.sections)


def test_one_pair_of_seeds_marks_nothing(shifted):
    """Intervals over images alone do not cover the randomness of training."""
    single = shifted[shifted["seed"] == shifted["seed"].min()].reset_index(drop=True)
    compared = compare(single, "a", "b", resamples=DRAWS)
    assert compared.classes["excludes_zero"].any()
    shown = render_comparison(compared, 0)
    assert {" "} == {row[-1][-1] for section in shown.sections for row in section.rows}
    assert "so nothing is marked" in " ".join(shown.caption)
    assert "*:" not in " ".join(shown.caption)


def test_too_few_resamples_are_noted(shifted):
    """The smallest p is 2 / (resamples + 1), so one of 3 classes at 5 % needs 119 resamples."""
    last = {
        resamples: comparison_notes(compare(shifted, "a", "b", resamples=resamples))[-1]
        for resamples in (118, 119)}
    assert "A single class among 3 can remain only with 119 or more resamples." == last[118]
    assert "A single class" not in last[119]


def test_programs_read_fractions(shifted):
    """CSV and JSON hold the rows of all tables."""
    compared = compare(shifted, "a", "b", resamples=DRAWS)
    shown = render_comparison(compared, 1)
    read = json.loads(table_formats.json_text(shown))
    kinds = ["group"] * 3 + ["class"] * 3 + ["gain", "loss"]
    assert kinds == [row["kind"] for row in read]
    assert compared.groups["low"].tolist() == [row["low"] for row in read[:3]]
    assert compared.classes["q"].tolist() == [row["q"] for row in read[3:6]]
    assert {("a", "b", "groundtruth/iou")} == {
        (row["arm_a"], row["arm_b"], row["metric"]) for row in read}
    assert 1 == read[-1]["image_id"]
    lines = list(csv.DictReader(io.StringIO(table_formats.csv_text(shown))))
    assert kinds == [line["kind"] for line in lines]
    assert [str(row["difference"]) for row in read] == [line["difference"] for line in lines]


def test_doubtful_trials_are_named(shifted):
    """Notes name dropped trials with the arm's label, and trials that ran with other code."""
    namesake = shifted[shifted["trial"] == "b-1"].assign(trial="old")
    frame = pd.concat([shifted, namesake], ignore_index=True)
    frame["code_state"] = ["", "other code", "", "", ""]
    notes = " ".join(comparison_notes(compare(frame, "a", "b", resamples=DRAWS)))
    assert "Dropped, with another number of steps or a duplicate seed: old." in notes
    assert "Ran with other code than the present version: a-1." in notes
