"""Class by class: what each arm does beyond the baseline, or what it does where it is alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.statistics import mean_interval, paired_difference

_INCHES_PER_CLASS = 0.19
_INCHES_BESIDE = 1.3
# Where an arm stands within the row of a class, as a share of the row.
_SPREAD = 0.5


class Drawn(NamedTuple):
    """What the figure shows.

    Attributes:
        roles: The classes by role, in the order in which they stand.
        arms: All arms, by whose places they look.
        values: In percent or, against a baseline, in percentage points, by arm and class.
        baseline: The arm that the others are compared with; empty where there is none.
    """

    roles: Mapping[str, Sequence[str]]
    arms: Sequence[str]
    values: Mapping[str, Mapping[str, float]]
    baseline: str


def draw(arms: Sequence[ArmTrials], classes: pd.DataFrame, metric: str) -> Figure | None:
    """Draw a row a class, novel and seen classes in panels of their own.

    Args:
        arms: Those to draw, in order.
        classes: Numbers by class, as `results.per_class` returns them.
        metric: `<reading>/<metric>`.

    Returns:
        None where there are no numbers by class.
    """
    drawn = measure(arms, classes, metric)
    if not drawn.values:
        return None
    sizes = [len(names) for names in drawn.roles.values()]
    with style.applied():
        legend = 0.18 * ((len(drawn.values) + 1) // 2)
        figure = style.figure(
            _INCHES_BESIDE + 0.35 * len(sizes) + legend + _INCHES_PER_CLASS * sum(sizes))
        panels = figure.subplots(
            len(sizes), 1, sharex=True, squeeze=False, height_ratios=sizes)[:, 0]
        for panel, (role, names) in zip(panels, drawn.roles.items(), strict=True):
            _draw_panel(panel, role, names, drawn)
        style.x_title(
            figure, f"{metric_title(metric)}: difference to the baseline, in percentage points"
            if drawn.baseline else f"{metric_title(metric)}, in %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def measure(arms: Sequence[ArmTrials], classes: pd.DataFrame, metric: str) -> Drawn:
    """Return what is drawn: means over seeds, or differences to the baseline, paired by seed.

    Classes stand in the order of their mean over the arms, the largest first.
    """
    reading, _, name = metric.partition("/")
    if name not in classes:
        return Drawn({}, (), {}, "")
    rows = classes.loc[(classes["reading"] == reading) & classes[name].notna()]
    by_arm = {arm.label: _by_class(arm, rows, name) for arm in arms}
    by_arm = {label: numbers for label, numbers in by_arm.items() if numbers}
    baselines = [arm.label for arm in arms if arm.baseline and arm.label in by_arm]
    baseline = baselines[0] if len(baselines) == 1 and len(by_arm) > 1 else ""
    of_baseline = by_arm.pop(baseline, None)
    values: dict[str, dict[str, float]] = {}
    for label, numbers in by_arm.items():
        for class_name, seeds in numbers.items():
            if of_baseline is None:
                mean = mean_interval(list(seeds.values())).mean
            else:
                mean = paired_difference(seeds, of_baseline.get(class_name, {})).mean
            if not math.isnan(mean):
                values.setdefault(label, {})[class_name] = 100 * mean
    return Drawn(_roles(rows, values), [arm.label for arm in arms], values, baseline)


def _by_class(arm: ArmTrials, rows: pd.DataFrame, name: str) -> dict[str, dict[int, float]]:
    """Return an arm's numbers by class and seed."""
    seeds = {row["trial"]: row["seed"] for row in arm.finished}
    found: dict[str, dict[int, float]] = {}
    ours = rows[rows["trial"].isin(seeds)]
    for trial, class_name, value in ours[["trial", "name", name]].itertuples(index=False):
        found.setdefault(class_name, {})[seeds[trial]] = value
    return found


def _roles(rows: pd.DataFrame, values: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    # A class has one role unless arms were trained on other classes; then, that of the most trials.
    role_of = rows.groupby("name")["role"].agg(lambda roles: roles.mode().iloc[0])
    shown = pd.DataFrame(values).mean(axis=1).sort_values(ascending=False, kind="stable")
    roles = {role: [name for name in shown.index if role_of[name] == role] for role in style.ROLES}
    return {role: names for role, names in roles.items() if names}


def _draw_panel(panel: Axes, role: str, names: Sequence[str], drawn: Drawn) -> None:
    count = len(drawn.values)
    for position, (arm, values) in enumerate(drawn.values.items()):
        offset = _SPREAD * ((position + 0.5) / count - 0.5)
        there = [(values[name], row + offset) for row, name in enumerate(names) if name in values]
        look = style.of_arm(drawn.arms.index(arm))
        panel.plot(
            *zip(*there, strict=True), linestyle="none", marker=look["marker"], markersize=4.5,
            markeredgecolor=look["color"], label=style.label(arm), gid=f"{role}-{position}",
            markerfacecolor=look["color"] if role == "seen" else "none")
    if drawn.baseline:
        panel.axvline(0, color=style.INK, linewidth=0.8)
    style.rows(panel, list(names))
    panel.set_title(f"{style.ROLE_TITLES[role]} ({'filled' if role == 'seen' else 'hollow'})",
                    loc="left")
