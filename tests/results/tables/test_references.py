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
             for panel in figure.axes for line in panel.lines if str(line.get_gid())[:3] == "iou"}
    assert lines == {
        ("iou_filled_box", 50.0), ("iou_filled_box", 45.0), ("iou_ellipse", 60.0),
        ("iou_ellipse", 58.0), ("iou_ceiling", 95.0)}
