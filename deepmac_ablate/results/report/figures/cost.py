"""What an arm costs against what it does for novel classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.statistics import Interval, mean_interval

_COSTS = {
    "training_gmacs": ("multiply-adds of training (an estimate)", "10⁹ "),
    "parameters": ("parameters", ""),
}
_INCHES_HIGH = 3.4
_INCHES_PER_LABEL = 0.2
# From so much between the cheapest and the dearest, equal factors are equal distances.
_LOGARITHMIC_FROM = 5.0


class Point(NamedTuple):
    """An arm: its place among all, its cost, and its mean on novel classes in percent."""

    arm: str
    place: int
    cost: float
    value: Interval


class Points(NamedTuple):
    """What is drawn.

    Attributes:
        points: One for each arm of which both is known, in order.
        axis: What the costs are.
    """

    points: Sequence[Point]
    axis: str


def draw(arms: Sequence[ArmTrials], metric: str, confidence: float = 0.95) -> Figure | None:
    """Draw a point an arm: its mean over seeds, with the interval, over its cost.

    Args:
        arms: Those to draw, in order.
        metric: `<reading>/<metric>`.
        confidence: Of the intervals, in (0, 1).

    Returns:
        None where costs are not known, or nothing has finished.
    """
    points, axis = measure(arms, metric, confidence)
    if not points:
        return None
    costs = [point.cost for point in points]
    with style.applied():
        figure = style.figure(max(_INCHES_HIGH, 0.9 + _INCHES_PER_LABEL * len(points)))
        figure.get_layout_engine().set(wspace=0.0)
        panel, names = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
        for point in points:
            look = style.of_arm(point.place) | {"linestyle": "none"}
            panel.plot(
                point.cost, point.value.mean, markersize=6.5, gid=f"arm-{point.place}", **look)
            if point.value.low is not None:
                panel.plot([point.cost] * 2, [point.value.low, point.value.high],
                           color=look["color"], linewidth=1.2, gid=f"interval-{point.place}")
        if max(costs) > _LOGARITHMIC_FROM * min(costs) > 0:
            panel.set_xscale("log")
        style.number_ticks(panel.xaxis)
        panel.set_xlabel(axis)
        panel.set_ylabel(f"{metric_title(metric)},\nnovel classes, in %")
        panel.grid()
        panel.margins(x=0.08)
        _name_points(panel, names, points)
    return figure


def measure(arms: Sequence[ArmTrials], metric: str, confidence: float = 0.95) -> Points:
    """Return what is drawn: over multiply-adds where all measured arms have them, else parameters.

    Costs are relative to the baseline's where there is one.
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
        Point(arm.label, place, known[arm.label] / divisor,
              mean_interval([100 * value for value in measured[arm.label]], confidence))
        for place, arm in enumerate(arms) if arm.label in measured]
    return Points(points, f"{title}, baseline = 1" if relative else f"{unit}{title}")


def _name_points(panel: Axes, names: Axes, points: Sequence[Point]) -> None:
    """Write the arms beside the panel at the heights of their points, apart from each other."""
    names.axis("off")
    low, high = panel.get_ylim()
    most = panel.figure.get_figheight() / _INCHES_PER_LABEL
    heights = spread([point.value.mean for point in points], low, high, most)
    for point, height in zip(points, heights, strict=True):
        look = style.of_arm(point.place) | {"linestyle": "-"}
        names.plot([0.0, 0.06, 0.1], [point.value.mean, height, height], linewidth=0.8,
                   **look | {"marker": None})
        names.plot(0.13, height, markersize=5, **look)
        names.text(0.18, height, style.label(point.arm), va="center")
    names.set_xlim(0, 1)
    panel.set_ylim(low, high)


def spread(values: Sequence[float], low: float, high: float, most: float) -> list[float]:
    """Return heights near the values, in their order, apart from each other.

    Args:
        values: Where the labels would like to be, at most `most`.
        low: The lowest height.
        high: The highest height.
        most: How many labels have room between them.
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
