"""Results on novel classes against the cost of each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.data.label_text import shorten_label
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.report.figures.reference_lines import draw_references
from deepmac_ablate.results.statistics import Interval, mean_interval

_COSTS = {
    "training_gmacs": ("training multiply-adds (estimate)", "10⁹ "),
    "parameters": ("parameters", ""),
}
_INCHES_HIGH = 3.4
_INCHES_PER_LABEL = 0.2
# Ratio between the highest and the lowest cost above which the axis is logarithmic.
_LOGARITHMIC_FROM = 5.0


class Point(NamedTuple):
    """Arm in the figure.

    Attributes:
        arm: Label of the arm.
        cost: Cost of the arm.
        value: Mean on novel classes with its interval, in percent.
    """

    arm: str
    cost: float
    value: Interval


class Points(NamedTuple):
    """Data of the figure.

    Attributes:
        points: One point for each arm whose cost and result are known.
        axis: Title of the axis of costs.
    """

    points: Sequence[Point]
    axis: str


def draw_cost(
    arms: Sequence[ArmTrials], metric: str, styles: Mapping[str, Mapping[str, Any]] | None = None,
    confidence: float = 0.95,
) -> Figure | None:
    """Draw one point per arm: its mean over seeds, with the interval, against its cost.

    Args:
        arms: Arms to draw.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".
        styles: Styles of all arms of the page, from `style.arm_styles`; None for only these arms.
        confidence: Confidence level of the intervals, in (0, 1).

    Returns:
        The figure; None if costs are unknown or no trial has finished.
    """
    points, axis = measure_costs(arms, metric, confidence)
    if not points:
        return None
    costs = [point.cost for point in points]
    styles = styles or style.arm_styles(arm.label for arm in arms)
    with style.applied():
        figure = style.new_figure(max(_INCHES_HIGH, 0.9 + _INCHES_PER_LABEL * len(points)))
        figure.get_layout_engine().set(wspace=0.0)
        panel, names = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
        ends = []
        for place, (arm, cost, value) in enumerate(points):
            panel.plot(cost, value.mean, gid=f"arm-{place}", **{**styles[arm], **style.MEAN})
            ends.append(value.mean)
            if value.low is not None:
                panel.plot([cost] * 2, [value.low, value.high], color=styles[arm]["color"],
                           gid=f"interval-{place}", **style.INTERVAL)
                ends += [value.low, value.high]
        ends += draw_references(panel, arms, metric, "novel", horizontal=True)
        limits = style.axis_limits(ends, (0.0, 100.0))
        panel.set_ylim(limits)
        if max(costs) > _LOGARITHMIC_FROM * min(costs) > 0:
            panel.set_xscale("log")
        style.format_ticks(panel.xaxis)
        panel.set_xlabel(axis)
        panel.set_ylabel(
            f"{metric_title(metric)},\nnovel classes, {style.name_range('%', limits)}")
        panel.grid()
        panel.margins(x=0.08)
        _name_points(panel, names, points, styles)
    return figure


def measure_costs(
    arms: Sequence[ArmTrials], metric: str, confidence: float = 0.95
) -> Points:
    """Return costs in multiply-adds if all arms with results have them, otherwise in parameters.

    Costs are relative to the baseline if there is one.
    """
    measured = {arm.label: list(arm.values_by_seed(f"{metric}/novel").values()) for arm in arms}
    measured = {label: values for label, values in measured.items() if values}
    costs = {
        name: {arm.label: arm.known_values(name)[0] for arm in arms if arm.known_values(name)}
        for name in _COSTS}
    column = next((name for name in _COSTS if measured.keys() <= costs[name].keys()), None)
    if column is None or not measured:
        return Points([], "")
    title, unit = _COSTS[column]
    known = costs[column]
    baselines = [known[arm.label] for arm in arms if arm.baseline and known.get(arm.label)]
    relative = len(baselines) == 1
    divisor = baselines[0] if relative else 1.0
    points = [
        Point(arm.label, known[arm.label] / divisor,
              mean_interval([100 * value for value in measured[arm.label]], confidence))
        for arm in arms if arm.label in measured]
    return Points(points, f"{title}, baseline = 1" if relative else f"{unit}{title}")


def _name_points(
    panel: Axes, names: Axes, points: Sequence[Point], styles: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the names of the arms beside their points, without overlap."""
    names.axis("off")
    low, high = panel.get_ylim()
    most = panel.figure.get_figheight() / _INCHES_PER_LABEL
    heights = spread_labels([point.value.mean for point in points], low, high, most)
    for point, height in zip(points, heights, strict=True):
        arm_style = styles[point.arm]
        names.plot([0.0, 0.06, 0.1], [point.value.mean, height, height], linewidth=0.8,
                   color=arm_style["color"])
        names.plot(0.13, height, **{**arm_style, **style.MEAN})
        names.text(0.18, height, shorten_label(point.arm), va="center")
    names.set_xlim(0, 1)
    panel.set_ylim(low, high)


def spread_labels(
    values: Sequence[float], low: float, high: float, most: float
) -> list[float]:
    """Return heights for labels near their values, in the same order and without overlap.

    Args:
        values: Preferred heights.
        low: Lowest height.
        high: Highest height.
        most: Number of labels that fit between `low` and `high`.
    """
    gap = (high - low) / max(most, len(values))
    order = sorted(range(len(values)), key=lambda place: values[place])
    heights, floor = list(values), low + gap / 2
    for place in order:
        heights[place] = max(heights[place], floor)
        floor = heights[place] + gap
    ceiling = high - gap / 2
    for place in reversed(order):
        heights[place] = min(heights[place], ceiling)
        ceiling = heights[place] - gap
    return heights
