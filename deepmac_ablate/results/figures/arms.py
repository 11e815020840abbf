"""Every arm's numbers: single seeds as dots, their mean, and its interval."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.results.figures import style
from deepmac_ablate.results.statistics import mean_interval

_INCHES_PER_ARM = 0.3
_INCHES_BESIDE = 0.9


def draw(frame: pd.DataFrame, metric: str, arms: Sequence[str]) -> Figure | None:
    """Draws an arm a row, with a panel for novel and one for seen classes, in percent.

    Args:
        frame: As `columns` says.
        metric: `<reading>/<metric>`.
        arms: Which ones, in order.

    Returns:
        None where no trial of these arms has a number.
    """
    columns = {role: f"{metric}/{role}" for role in style.ROLES}
    there = {role: name for role, name in columns.items()
             if name in frame and frame.loc[frame["arm"].isin(arms), name].notna().any()}
    if not there:
        return None
    with style.applied():
        figure = style.figure(_INCHES_BESIDE + _INCHES_PER_ARM * len(arms))
        panels = figure.subplots(1, len(there), sharey=True, squeeze=False)[0]
        for panel, (role, column) in zip(panels, there.items(), strict=True):
            _draw_panel(panel, frame, column, role, arms)
            panel.set_title(style.ROLE_TITLES[role])
            panel.set_xlabel(f"{metric} in %")
        style.rows(panels[0], list(arms))
        for panel in panels[1:]:
            panel.grid(axis="both")
            panel.tick_params(axis="y", length=0)
            panel.spines["left"].set_visible(False)
    return figure


def _draw_panel(
    panel: Axes, frame: pd.DataFrame, column: str, role: str, arms: Sequence[str]
) -> None:
    look = style.ROLES[role]
    for position, arm in enumerate(arms):
        trials = frame[frame["arm"] == arm]
        values = [100 * value for value in trials[column].dropna()]
        if not values:
            continue
        panel.plot(
            values, [position] * len(values), linestyle="none", marker=look["marker"],
            markersize=4.5, markerfacecolor="none", markeredgecolor=look["color"],
            markeredgewidth=0.9, gid=f"seeds-{position}")
        interval = mean_interval(values)
        panel.plot(
            interval.mean, position, marker="|", markersize=13, markeredgewidth=2.2,
            color=look["color"], gid=f"mean-{position}")
        if interval.low is not None:
            panel.plot(
                [interval.low, interval.high], [position] * 2, color=look["color"], linewidth=1.6,
                solid_capstyle="butt", gid=f"interval-{position}")
        if trials["baseline"].fillna(False).any():
            panel.axvline(
                interval.mean, color=style.QUIET, linestyle=(0, (4, 3)), linewidth=1.0, zorder=0)
