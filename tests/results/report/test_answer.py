"""A report begins with the largest difference that the data show, or says that they show none."""

from __future__ import annotations

import pytest
import scipy.stats

from deepmac_ablate.results.report.sections.answer import find_answer
from deepmac_ablate.results.statistics import holm
from deepmac_ablate.results.tables.arm_table import arm_table
from tests.helpers.result_frames import arm, frame

IOU = "groundtruth/iou"
BASE = {f"{IOU}/novel": [0.40, 0.41, 0.42], f"{IOU}/seen": [0.60, 0.61, 0.62]}


def other(label, novel, seen, **fields):
    """Return an arm that differs from the baseline by some points in each seed."""
    numbers = {
        name: [value + points / 100 for value, points in zip(BASE[name], more, strict=True)]
        for name, more in ((f"{IOU}/novel", novel), (f"{IOU}/seen", seen))}
    return arm(label, numbers, **fields)


def answer(*arms):
    return find_answer(arm_table(frame(arm("base", BASE, baseline=True), *arms), [IOU]))


@pytest.mark.slow
def test_the_largest_difference_that_is_shown_comes_first():
    """Not the largest of all, which is noise; p values are corrected for all four."""
    found = answer(
        other("noisy", [-10, 30, 10], [1, 2, 0]), other("steady", [4.9, 5.0, 5.1], [2, -1, 1]))
    p_values = [
        float(scipy.stats.ttest_1samp(points, 0).pvalue)
        for points in ([-10, 30, 10], [1, 2, 0], [4.9, 5.0, 5.1], [2, -1, 1])]
    corrected = holm(p_values)[2]
    assert (
        "Largest difference: steady against base, +5.0 ± 0.2 points of mask IoU in ground-truth "
        f"boxes on novel classes (95 % t interval over 3 seeds, p {corrected:.3f})."
    ) == found.headline
    on_seen, of = found.details
    assert on_seen.startswith("On seen classes: noisy, +1.0 ± 2.5 points (p ")
    assert on_seen.endswith("), which may be chance.")
    assert "The data show 1 of 4 differences: p below 0.05 after Holm's correction" in of
    [panel] = found.figure.axes
    drawn = {line.get_gid(): list(line.get_xdata()) for line in panel.get_lines()}
    assert [10.0] == [round(value, 6) for value in drawn["difference-0"]]
    assert [5.0] == [round(value, 6) for value in drawn["difference-2"]]
    assert ["noisy", "steady"] == [label.get_text() for label in panel.get_yticklabels()]
    assert "95 % t intervals" in found.caption


def test_differences_that_only_correction_hides_are_not_shown():
    """With p = 0.03 alone, but 0.12 among four, the data show nothing."""
    points = [4.0, 5.0, 7.0]
    assert 0.02 < scipy.stats.ttest_1samp(points, 0).pvalue < 0.05
    many = answer(*(other(label, points, [2, -1, 1]) for label in "ab"))
    assert many.headline.startswith(
        "The data show no difference. The largest, which may be chance, is that of a against base, "
        "+5.3 ± 3.8 points")
    assert "The data show 0 of 4 differences" in many.details[0]


def test_one_pair_of_seeds_shows_nothing():
    """However large; neither is such an arm counted among tested ones."""
    huge = other("huge", [50] * 3, [50] * 3)[:1]
    alone = answer(huge)
    assert (
        "The data cannot show a difference, as each rests on one pair of seeds. The largest is "
        "that of huge against base, +50.0 points of mask IoU in ground-truth boxes on novel "
        "classes.") == alone.headline
    assert "interval" not in alone.caption
    both = answer(huge, other("steady", [4.9, 5.0, 5.1], [2, -1, 1]))
    assert both.headline.startswith("Largest difference: steady against base, +5.0")
    assert "One pair of seeds, so neither interval nor test: huge." == both.details[-1]


def test_there_may_be_nothing_to_compare():
    """No trial, no baseline or equal arms are said, with a picture where there is one."""
    nothing = find_answer(arm_table(frame(arm("a", {}, statuses=["new"] * 3)), [IOU]))
    assert ("No trial has finished yet.", None) == (nothing.headline, nothing.figure)
    alone = find_answer(arm_table(frame(arm("a", BASE), arm("b", BASE)), [IOU]))
    assert alone.headline.startswith("There is no difference to report: no arm has a finished seed")
    assert alone.figure is not None
    equal = answer(other("equal", [0] * 3, [0] * 3))
    assert "No difference: all arms equal the baseline in every seed." == equal.headline


def test_arms_at_the_floor_are_named():
    """A difference between arms that segment no shape would mislead."""
    floors = {f"{IOU}_ellipse/novel": [0.5] * 3, f"{IOU}_ellipse/seen": [0.5] * 3}
    rows = [arm("base", BASE | floors, baseline=True),
            other("steady", [4.9, 5.0, 5.1], [5, 5.1, 4.9])]
    for row in rows[1]:
        row |= dict.fromkeys(floors, 0.5)
    found = find_answer(arm_table(frame(*rows), [IOU]))
    assert (
        "At the floor on novel classes, no better than filled boxes or ellipses as far as the data "
        "show: base, steady.") == found.details[-1]


def test_of_many_arms_those_with_the_largest_differences_are_drawn():
    """The arm of the headline is among them, although others differ more by chance."""
    noisy = [other(f"noisy{i}", [-10, 30, 10 + i], [1, 2, 0]) for i in range(9)]
    found = answer(other("steady", [4.999, 5.0, 5.001], [0, 0, 1]), *noisy)
    assert found.headline.startswith("Largest difference: steady against base")
    labels = [label.get_text() for label in found.figure.axes[0].get_yticklabels()]
    assert ["steady", *(f"noisy{i}" for i in range(2, 9))] == labels
    assert "Showing 8 of 10 arms, those with the largest differences." in found.caption
