"""Results of each arm: a marker for each seed, their mean, and its interval."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.report.figures.reference_lines import draw_references
from deepmac_ablate.results.statistics import mean_interval

_INCHES_PER_ARM = 0.34
_INCHES_BESIDE = 0.9
# Distance of the markers below the interval, as a share of the row.
_BELOW = 0.24


def draw_arms(
    arms: Sequence[ArmTrials], metric: str, confidence: float = 0.95
) -> Figure | None:
    """Draw one row per arm, with a panel each for novel and seen classes, in percent.

    Dotted lines mark floors and ceiling of mask IoU, see `references`, where all arms share them.

    Args:
        arms: Arms to draw, the first on top.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".
        confidence: Confidence level of the intervals, in (0, 1).

    Returns:
        The figure; None if no trial of these arms has the metric.
    """
    roles = [
        role for role in style.ROLES
        if any(arm.values_by_seed(f"{metric}/{role}") for arm in arms)]
    if not roles:
        return None
    with style.applied():
        figure = style.new_figure(_INCHES_BESIDE + _INCHES_PER_ARM * len(arms))
        panels = figure.subplots(1, len(roles), sharey=True, squeeze=False)[0]
        for panel, role in zip(panels, roles, strict=True):
            for row, arm in enumerate(arms):
                values = [100 * value for value in arm.values_by_seed(f"{metric}/{role}").values()]
                if values:
                    _draw_arm(panel, row, values, role, arm.baseline, confidence)
            draw_references(panel, arms, metric, role)
            panel.set_title(style.ROLE_TITLES[role])
            style.label_rows(panel, [arm.label for arm in arms])
        style.set_x_title(figure, f"{metric_title(metric)}, in %")
    return figure


def _draw_arm(
    panel: Axes, row: int, values: Sequence[float], role: str, baseline: bool, confidence: float
) -> None:
    role_style = style.ROLES[role]
    interval = mean_interval(values, confidence)
    if interval.low is not None:
        panel.plot(
            [interval.low, interval.high], [row, row], color=role_style["color"], linewidth=1.6,
            solid_capstyle="butt", gid=f"{role}-interval-{row}")
    panel.plot(
        interval.mean, row, marker="|", markersize=11, markeredgewidth=2.2,
        color=role_style["color"], gid=f"{role}-mean-{row}")
    panel.plot(
        values, [row + _BELOW] * len(values), linestyle="none", marker=role_style["marker"],
        markersize=4, markerfacecolor="none", markeredgecolor=role_style["color"],
        markeredgewidth=0.9, gid=f"{role}-seeds-{row}")
    if baseline:
        panel.axvline(interval.mean, color=style.QUIET, linestyle=(0, (4, 3)), linewidth=1.0,
                      zorder=0)
