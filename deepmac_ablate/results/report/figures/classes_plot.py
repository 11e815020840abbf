"""Results for each class: differences from the baseline, or values if there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.data.label_text import shorten_label
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.statistics import mean_interval, paired_difference

_INCHES_PER_CLASS = 0.19
_INCHES_BESIDE = 1.3
# Height that the arms share within the row of a class, as a share of the row.
_SPREAD = 0.5


class ClassResults(NamedTuple):
    """Data of the figure.

    Attributes:
        roles: Names of classes by role, from top to bottom.
        arms: All arms; the position of an arm decides its style.
        values: Results by arm and class, in percent; in percentage points if there is a baseline.
        baseline: Arm that the others are compared with; empty if there is none.
    """

    roles: Mapping[str, Sequence[str]]
    arms: Sequence[str]
    values: Mapping[str, Mapping[str, float]]
    baseline: str


def draw_classes(
    arms: Sequence[ArmTrials], classes: pd.DataFrame, metric: str
) -> Figure | None:
    """Draw one row per class, with a panel each for novel and seen classes.

    Args:
        arms: Arms to draw, in the order of the legend.
        classes: Results per class, from `results.per_class`.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".

    Returns:
        The figure; None if there are no results per class.
    """
    drawn = summarize_classes(arms, classes, metric)
    if not drawn.values:
        return None
    sizes = [len(names) for names in drawn.roles.values()]
    with style.applied():
        legend = 0.18 * ((len(drawn.values) + 1) // 2)
        figure = style.new_figure(
            _INCHES_BESIDE + 0.35 * len(sizes) + legend + _INCHES_PER_CLASS * sum(sizes))
        panels = figure.subplots(
            len(sizes), 1, sharex=True, squeeze=False, height_ratios=sizes)[:, 0]
        for panel, (role, names) in zip(panels, drawn.roles.items(), strict=True):
            _draw_panel(panel, role, names, drawn)
        style.set_x_title(
            figure, f"{metric_title(metric)}: difference from the baseline, in percentage points"
            if drawn.baseline else f"{metric_title(metric)}, in %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def summarize_classes(
    arms: Sequence[ArmTrials], classes: pd.DataFrame, metric: str
) -> ClassResults:
    """Return means over seeds or, if there is one baseline, differences from it, paired by seed.

    Classes are ordered by their mean over the arms, the largest first.
    """
    box_source, _, name = metric.partition("/")
    if name not in classes:
        return ClassResults({}, (), {}, "")
    rows = classes.loc[(classes["reading"] == box_source) & classes[name].notna()]
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
    return ClassResults(_roles(rows, values), [arm.label for arm in arms], values, baseline)


def _by_class(arm: ArmTrials, rows: pd.DataFrame, name: str) -> dict[str, dict[int, float]]:
    """Return the results of an arm by class and seed."""
    seeds = {row["trial"]: row["seed"] for row in arm.finished}
    found: dict[str, dict[int, float]] = {}
    ours = rows[rows["trial"].isin(seeds)]
    for trial, class_name, value in ours[["trial", "name", name]].itertuples(index=False):
        found.setdefault(class_name, {})[seeds[trial]] = value
    return found


def _roles(rows: pd.DataFrame, values: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    # If arms were trained with different class splits, the role in most trials counts.
    role_of = rows.groupby("name")["role"].agg(lambda roles: roles.mode().iloc[0])
    shown = pd.DataFrame(values).mean(axis=1).sort_values(ascending=False, kind="stable")
    roles = {role: [name for name in shown.index if role_of[name] == role] for role in style.ROLES}
    return {role: names for role, names in roles.items() if names}


def _draw_panel(panel: Axes, role: str, names: Sequence[str], drawn: ClassResults) -> None:
    count = len(drawn.values)
    for position, (arm, values) in enumerate(drawn.values.items()):
        offset = _SPREAD * ((position + 0.5) / count - 0.5)
        there = [(values[name], row + offset) for row, name in enumerate(names) if name in values]
        arm_style = style.arm_style(drawn.arms.index(arm))
        panel.plot(
            *zip(*there, strict=True), linestyle="none", marker=arm_style["marker"], markersize=4.5,
            label=shorten_label(arm), gid=f"{role}-{position}",
            markeredgecolor=arm_style["color"],
            markerfacecolor=arm_style["color"] if role == "seen" else "none")
    if drawn.baseline:
        panel.axvline(0, color=style.INK, linewidth=0.8)
    style.label_rows(panel, list(names))
    panel.set_title(f"{style.ROLE_TITLES[role]} ({'filled' if role == 'seen' else 'hollow'})",
                    loc="left")
