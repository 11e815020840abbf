"""What an arm costs against what it does for novel classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.results.figures import style
from deepmac_ablate.results.statistics import Interval, mean_interval

_COSTS = {
    "training_gmacs": "10⁹ multiply-adds of training (estimate)",
    "parameters": "parameters of the model",
}
_INCHES_HIGH = 3.6
_INCHES_PER_LABEL = 0.19
# From so much between the cheapest and the dearest, equal factors are equal distances.
_LOGARITHMIC_FROM = 5.0


def draw(frame: pd.DataFrame, metric: str, arms: Sequence[str]) -> Figure | None:
    """Draws a point an arm: its mean over seeds, with the interval, over its cost.

    Args:
        frame: As `columns` says.
        metric: `<reading>/<metric>`.
        arms: Which ones, in order.

    Returns:
        None where costs are not known, or nothing has finished.
    """
    found = points(frame, metric, arms)
    if not found:
        return None
    name, costs = found[0][1], [cost for _, _, cost, _ in found]
    with style.applied():
        figure = style.figure(max(_INCHES_HIGH, 0.8 + _INCHES_PER_LABEL * len(found)))
        panel, names = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
        for position, (_, _, cost, interval) in enumerate(found):
            look = style.of_arm(position)
            panel.plot(cost, 100 * interval.mean, linestyle="none", markersize=6.5,
                       marker=look["marker"], color=look["color"], gid=f"arm-{position}")
            if interval.low is not None:
                panel.plot([cost] * 2, [100 * interval.low, 100 * interval.high],
                           color=look["color"], linewidth=1.2)
        if max(costs) > _LOGARITHMIC_FROM * min(costs) > 0:
            panel.set_xscale("log")
        panel.set_xlabel(_COSTS[name])
        panel.set_ylabel(f"{metric}, novel, in %")
        panel.grid()
        _name_points(panel, names, [(arm, 100 * it.mean) for arm, _, _, it in found])
    return figure


def points(
    frame: pd.DataFrame, metric: str, arms: Sequence[str]
) -> list[tuple[str, str, float, Interval]]:
    """Returns what is drawn: arm, the cost's column, the cost, and the mean in [0, 1].

    The cost is `training_gmacs` where it is known of all arms that have a number, else
    `parameters`.
    """
    column = f"{metric}/novel"
    if column not in frame:
        return []
    measured = frame[frame["arm"].isin(arms) & frame[column].notna()]
    for name in _COSTS:
        known = measured[measured[name].notna()]
        if len(known) and known["arm"].nunique() == measured["arm"].nunique():
            break
    else:
        return []
    return [
        (arm, name, float(known.loc[known["arm"] == arm, name].iloc[0]),
         mean_interval(list(known.loc[known["arm"] == arm, column])))
        for arm in arms if (known["arm"] == arm).any()]


def _name_points(panel: Axes, names: Axes, means: Sequence[tuple[str, float]]) -> None:
    """Writes the arms beside the panel at the heights of their points, apart from each other."""
    names.axis("off")
    low, high = panel.get_ylim()
    heights = spread([mean for _, mean in means], low, high)
    for position, ((arm, mean), height) in enumerate(zip(means, heights, strict=True)):
        look = style.of_arm(position)
        names.plot([-0.02, 0.06, 0.1], [mean, height, height], color=look["color"], linewidth=0.8)
        names.plot(0.13, height, marker=look["marker"], color=look["color"], markersize=5)
        names.text(0.18, height, style.label(arm), va="center")
    names.set_xlim(0, 1)
    panel.set_ylim(low, high)


def spread(values: Sequence[float], low: float, high: float) -> list[float]:
    """Returns heights near the values, in their order, at least a label's height apart.

    Args:
        values: Where the labels would like to be.
        low: The lowest height.
        high: The highest height; all labels find room between them.
    """
    gap = (high - low) / max(len(values), _INCHES_HIGH / _INCHES_PER_LABEL)
    order = np.argsort(values, kind="stable")
    heights = np.array(values, float)[order]
    floor = low + gap / 2
    for index, height in enumerate(heights):
        heights[index] = floor = max(height, floor)
        floor += gap
    ceiling = high - gap / 2
    for index in range(len(heights) - 1, -1, -1):
        heights[index] = ceiling = min(heights[index], ceiling)
        ceiling -= gap
    placed = np.empty_like(heights)
    placed[order] = heights
    return placed.tolist()
