"""Figures of the study."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis import study
from deepmac_ablate import results
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.effects.contrasts import Contrast
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.report.figures.differences_plot import (
    DrawnDifference,
    draw_differences,
)
from deepmac_ablate.results.statistics import mean_interval
from docs import make_pictures

# The largest difference that is drawn, as a fraction.
_DRAWN = 0.2


def draw_contrasts(contrasts: Sequence[Contrast]) -> Figure | None:
    """Draw the contrasts with their intervals; "*" marks those that the correction leaves.

    Differences of more than 20 points are left out, beside which others could not be told apart.
    """
    corrected = results.contrast_table(contrasts)["p_holm"]
    return draw_differences([
        DrawnDifference(
            f"{item.name}{' *' if p_holm is not None and p_holm < 0.05 else ''}", "novel",
            item.difference)
        for item, p_holm in zip(contrasts, corrected, strict=True)
        if abs(item.difference.mean) <= _DRAWN],
        "difference of mask IoU in ground-truth boxes (novel classes, if not said otherwise)")


def draw_heads(frame: pd.DataFrame) -> Figure:
    """Draw mask IoU on novel classes by head and box source, beside that of the oracle."""
    finished = frame[(frame["status"] == "finished") & (frame["weak_losses"] == "none")]
    groups = dict(study.groups(finished, ["mask_head", "masks", "box_source"]))
    columns = {("half", boxes): boxes for boxes in study.BOXES} | {
        ("all", "groundtruth"): "all masks"}
    with style.applied():
        figure = style.new_figure(4.0)
        panel = figure.subplots()
        for number, (column, title) in enumerate(columns.items()):
            signs = style.arm_styles(columns.values())[title]
            for place, head in enumerate(study.HEADS):
                if (head, *column) not in groups:
                    continue
                values = study.by_seed(groups[head, *column], f"{study.METRIC}/novel").values()
                mean, low, high, *_ = mean_interval(list(values))
                row = place + 0.2 * (number - 1.5)
                if low is not None and high is not None:
                    panel.plot([100 * low, 100 * high], [row, row], color=signs["color"],
                               **style.INTERVAL)
                panel.plot(100 * mean, row, color=signs["color"], marker=signs["marker"],
                           label=title if place == 0 else None, **style.MEAN)
        for metric in ("iou_ellipse", "iou_ceiling"):
            panel.axvline(100 * finished[f"groundtruth/{metric}/novel"].mean(),
                          **style.REFERENCES[metric])
        style.label_rows(panel, list(study.HEADS))
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        style.set_x_title(figure, "mask IoU of novel classes in ground-truth boxes, in %")
    return figure


def draw_masks(workdir: str) -> Figure:
    """Draw what the heads, trained in ground-truth boxes, make of three objects of novel classes.

    Their ranks are a tenth, the half and nine tenths, see `make_pictures.object_at`.
    """
    arms = {arm.label: arm for arm in group_by_arm(results.load(workdir)).arms}
    heads = {head: arms[f"{head}+groundtruth+shapes_a+none"] for head in study.HEADS}
    return make_pictures.draw_masks(heads, (0.1, 0.5, 0.9), 1.15)
