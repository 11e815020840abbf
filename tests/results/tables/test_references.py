"""Floors and ceiling as rows of a table, in its records and in the plot of arms."""

from __future__ import annotations

from typing import Any

from deepmac_ablate.results import formats
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.report.figures.arms_plot import draw_arms
from deepmac_ablate.results.tables.arm_table import arm_table
from deepmac_ablate.results.tables.table_rendering import render_table
from tests.helpers.result_frames import arm, cells_of, frame

IOU = "groundtruth/iou"


def trials(label: str, iou: float, ceiling: float = 0.95, **fields: Any) -> list[dict[str, Any]]:
    """The three trials of an arm, with the references that its evaluation computed."""
    numbers = {f"{IOU}/novel": [iou] * 3, f"{IOU}/seen": [iou + 0.1] * 3}
    for name, novel, seen in (("filled_box", 0.5, 0.45), ("ellipse", 0.6, 0.58),
                              ("ceiling", ceiling, ceiling)):
        numbers |= {f"{IOU}_{name}/novel": [novel] * 3, f"{IOU}_{name}/seen": [seen] * 3}
    return arm(label, numbers, **fields)


def test_references_are_rows_below_the_arms():
    """Each has its means and its gap, and no difference."""
    shown = formats.markdown_text(render_table(arm_table(
        frame(trials("first", 0.7, baseline=True), trials("second", 0.72)), [IOU])))
    assert [["50.0", "-", "-", "45.0", "-", "-"], ["-5.0"]] == cells_of(shown, "floor: filled box")
    assert ["60.0", "58.0"] == [
        cell for cell in cells_of(shown, "floor: inscribed ellipse")[0] if cell != "-"]
    assert ["95.0", "95.0"] == [
        cell for cell in cells_of(shown, "ceiling: annotation")[0] if cell != "-"]
    assert "floor: what shapes without training score" in shown


def test_a_reference_that_differs_names_its_arms():
    """Heads with masks of other sizes have other ceilings, but the same floors."""
    shown = formats.markdown_text(render_table(arm_table(
        frame(trials("small", 0.7, 0.9, baseline=True), trials("large", 0.7, 0.97)), [IOU])))
    assert "90.0" in cells_of(shown, "ceiling: annotation (small)")[0]
    assert "97.0" in cells_of(shown, "ceiling: annotation (large)")[0]
    assert 2 == len(cells_of(shown, "floor: filled box"))


def test_references_are_in_the_records():
    """Programs find them by name beside the metric of each arm."""
    document = render_table(arm_table(frame(trials("first", 0.7, baseline=True)), [IOU]))
    references = document.records[0]["metrics"][IOU]["references"]
    assert {"novel": 0.6, "seen": 0.58} == references["iou_ellipse"]
    assert ["iou_filled_box", "iou_ellipse", "iou_ceiling"] == list(references)


def test_arms_at_the_floor_are_marked():
    """Their interval reaches the higher floor, 60 and 58; one seed is judged by its value."""
    spread = [value - 0.06 for value in (0.60, 0.68, 0.76)]
    wide = trials("wide", 0.62)
    for row, value in zip(wide, spread, strict=True):
        row[f"{IOU}/novel"] = value
    arms = frame(
        trials("above", 0.61, baseline=True), trials("below", 0.55), wide,
        trials("one", 0.62)[:1], trials("low", 0.59)[:1])
    document = render_table(arm_table(arms, [IOU]))
    shown = formats.markdown_text(document)
    # The rows of a wide table are numbered.
    rows = [cells_of(shown, number)[0] for number in "12345"]
    assert ["61.0 ± 0.0", "55.0 ± 0.0 #", "62.0 ± 19.9 #", "62.0", "59.0 #"] == [
        row[0] for row in rows]
    assert not [row for row in rows if row[3].endswith("#")]
    assert "#: at the floor: the interval (of one seed: the value) does not lie above" in shown
    flags = {record["arm"]: record["metrics"][IOU]["novel"]["at_floor"]
             for record in document.records}
    assert {"above": False, "below": True, "wide": True, "one": False, "low": True} == flags


def test_nothing_is_marked_above_the_floor_or_without_one():
    """There is no note either; programs get null where there is no floor."""
    shown = formats.markdown_text(render_table(arm_table(frame(trials("first", 0.7)), [IOU])))
    assert "#: " not in shown
    bare = arm("first", {f"{IOU}/novel": [0.1] * 3})
    document = render_table(arm_table(frame(bare), [IOU]))
    assert document.records[0]["metrics"][IOU]["novel"]["at_floor"] is None
    assert "#: " not in formats.markdown_text(document)


def test_the_plot_marks_arms_at_the_floor():
    """The mark follows the name, even of an arm whose name is shortened."""
    name = "a_very_long_name_of_an_arm_that_is_shortened"
    figure = draw_arms(group_by_arm(frame(trials(name, 0.55), trials("above", 0.7))).arms, IOU)
    low, above = (label.get_text() for label in figure.axes[0].get_yticklabels())
    assert low.endswith("… #")
    assert "above" == above


def test_other_metrics_and_earlier_trials_have_none():
    """Trials that were evaluated without references, and metrics that are not mask IoU."""
    numbers = {f"{IOU}/novel": [0.5] * 3, "detections/mask_ap/novel": [0.2] * 3}
    shown = formats.markdown_text(render_table(arm_table(
        frame(arm("first", numbers, baseline=True)), [IOU, "detections/mask_ap"])))
    assert "floor" not in shown
    assert "ceiling" not in shown


def test_references_are_lines_of_the_plot():
    """One dotted line for each in each panel, at its value in percent."""
    arms = group_by_arm(frame(trials("first", 0.7), trials("second", 0.72))).arms
    figure = draw_arms(arms, IOU)
    lines = {(line.get_gid(), round(line.get_xdata()[0], 6))
             for panel in figure.axes for line in panel.lines if "-iou_" in str(line.get_gid())}
    assert lines == {
        ("novel-iou_filled_box", 50.0), ("seen-iou_filled_box", 45.0), ("novel-iou_ellipse", 60.0),
        ("seen-iou_ellipse", 58.0), ("novel-iou_ceiling", 95.0), ("seen-iou_ceiling", 95.0)}
