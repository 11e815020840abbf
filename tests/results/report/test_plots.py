"""Captions of figures: words about intervals and evaluations only where these are drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepmac_ablate import results
from deepmac_ablate.results.report.sections import plots
from deepmac_ablate.results.report.sections.main_table import make_main_table

RECORDED = Path(__file__).parents[2] / "golden/sweeps/recorded_b"
IOU = "groundtruth/iou"


def data(workdir=RECORDED, seeds=(0, 1, 2)) -> plots.PlotData:
    frame = results.load(workdir)
    frame = frame[frame["seed"].isin(seeds)]
    return plots.make_plot_data(frame, results.per_class(frame), IOU, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arms", "effects", "cost"])
def test_captions_name_intervals_where_there_are_any(name):
    """A figure of three seeds has intervals; one of a single seed has none."""
    assert "95 % t interval" in plots.PLOTS[name](data()).caption
    alone = plots.PLOTS[name](data(seeds=[0]))
    assert alone.figure is not None
    assert "interval" not in alone.caption


def test_a_baseline_that_has_not_finished_has_no_line():
    """Its line is not drawn, so the caption does not explain it."""
    drawn = data()
    assert "dashed line" in plots.plot_arms(drawn).caption
    frame = drawn.frame[drawn.frame["arm"] != "default"]
    others = plots.make_plot_data(frame, drawn.classes, IOU, None)
    assert "dashed line" not in plots.plot_arms(others).caption


def test_captions_of_curves_name_the_panels(tmp_path):
    """Without an evaluation during training, one point is left, which is not a curve."""
    assert "Mask IoU in ground-truth boxes was evaluated during training." in (
        plots.plot_curves(data()).caption)
    shutil.copytree(RECORDED, tmp_path / "w")
    for path in tmp_path.glob("w/trials/*/evaluations.jsonl"):
        path.unlink()
    curves = plots.plot_curves(data(tmp_path / "w"))
    assert ["total loss", "mask loss"] == [panel.get_title() for panel in curves.figure.axes]
    assert (
        "One line per trial; the seeds of an arm share a style. Losses are averaged over "
        "neighbouring steps, and comparable between arms with the same loss function only."
    ) == curves.caption


@pytest.mark.slow
def test_a_table_of_one_seed_has_no_word_of_intervals():
    """Neither in its heads nor in its notes."""
    for seeds, found in (([0, 1, 2], True), ([0], False)):
        table = make_main_table(results.arm_table(data(seeds=seeds).frame, [IOU]))
        assert found == table.has_intervals
        text = " ".join([*(header.meaning for header in table.headers), *table.caption])
        assert found == ("interval" in text)


@pytest.mark.slow
def test_arms_of_two_sweeps_name_their_sweeps():
    """The table of a report has one column for both."""
    frame = results.load(RECORDED, RECORDED.parent / "recorded_a")
    arms = [line.arm for line in make_main_table(results.arm_table(frame, [IOU])).lines]
    assert ["recorded_b/default", "recorded_b/hourglass20"] == arms[:2]
    assert "recorded_a/default+proposals+shapes_a" == arms[2]
