"""Results for each class: differences from the baseline, or values if there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.data.label_text import shorten_label
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.statistics import mean_interval, paired_difference
from deepmac_ablate.results.tables.references import REFERENCES

_INCHES_PER_CLASS = 0.19
_INCHES_BESIDE = 1.3
# Rounding error of a reference.
_SAME = 1e-6
# Height that the arms share within the row of a class, as a share of the row.
_SPREAD = 0.5


class ClassResults(NamedTuple):
    """Data of the figure.

    Attributes:
        roles: Names of classes by role, from top to bottom.
        values: Results by arm and class, in percent; in percentage points if there is a baseline.
        baseline: Arm that the others are compared with; empty if there is none.
        references: Floors and ceiling of mask IoU that all arms share, by metric and class, in the
            unit of `values`.
    """

    roles: Mapping[str, Sequence[str]]
    values: Mapping[str, Mapping[str, float]]
    baseline: str
    references: Mapping[str, Mapping[str, float]]


def draw_classes(
    arms: Sequence[ArmTrials], classes: pd.DataFrame, metric: str,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Figure | None:
    """Draw one row per class, with a panel each for novel and seen classes.

    Grey lines are floors and ceiling of mask IoU of each class, see `references`.

    Args:
        arms: Arms to draw, in the order of the legend.
        classes: Results per class, from `results.per_class`.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".
        styles: Styles of all arms of the page, from `style.arm_styles`; None for only these arms.

    Returns:
        The figure; None if there are no results per class.
    """
    drawn = summarize_classes(arms, classes, metric)
    if not drawn.values:
        return None
    styles = styles or style.arm_styles(arm.label for arm in arms)
    sizes = [len(names) for names in drawn.roles.values()]
    with style.applied():
        legend = 0.18 * ((len(drawn.values) + len(drawn.references) + 1) // 2)
        figure = style.new_figure(
            _INCHES_BESIDE + 0.35 * len(sizes) + legend + _INCHES_PER_CLASS * sum(sizes))
        panels = figure.subplots(
            len(sizes), 1, sharex=True, squeeze=False, height_ratios=sizes)[:, 0]
        for panel, (role, names) in zip(panels, drawn.roles.items(), strict=True):
            _draw_panel(panel, role, names, drawn, styles)
        values = [value for of_arm in (*drawn.values.values(), *drawn.references.values())
                  for value in of_arm.values()]
        bounds = (-math.inf, math.inf) if drawn.baseline else (0.0, 100.0)
        limits = style.axis_limits([*values, *([0.0] if drawn.baseline else [])], bounds)
        panels[0].set_xlim(limits)
        style.set_x_title(
            figure, f"{metric_title(metric)}: difference from the baseline, "
            f"{style.name_range('points', limits)}"
            if drawn.baseline else f"{metric_title(metric)}, {style.name_range('%', limits)}")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, handlelength=2.6)
    return figure


def summarize_classes(
    arms: Sequence[ArmTrials], classes: pd.DataFrame, metric: str
) -> ClassResults:
    """Return means over seeds or, if there is one baseline, differences from it, paired by seed.

    Classes are ordered by their mean over the arms, the largest first.
    """
    box_source, _, name = metric.partition("/")
    if name not in classes:
        return ClassResults({}, {}, "", {})
    trials = [row["trial"] for arm in arms for row in arm.finished]
    rows = classes.loc[
        (classes["reading"] == box_source) & classes[name].notna() & classes["trial"].isin(trials)]
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
    return ClassResults(
        _roles(rows, values), values, baseline, _references(rows, name, of_baseline or {}))


def _by_class(arm: ArmTrials, rows: pd.DataFrame, name: str) -> dict[str, dict[int, float]]:
    """Return the results of an arm by class and seed."""
    seeds = {row["trial"]: row["seed"] for row in arm.finished}
    found: dict[str, dict[int, float]] = {}
    ours = rows[rows["trial"].isin(seeds)]
    for trial, class_name, value in ours[["trial", "name", name]].itertuples(index=False):
        found.setdefault(class_name, {})[seeds[trial]] = value
    return found


def _references(
    rows: pd.DataFrame, name: str, baseline: Mapping[str, Mapping[int, float]]
) -> dict[str, dict[str, float]]:
    """Return the references by class that all trials share; differences if there is a baseline."""
    found: dict[str, dict[str, float]] = {}
    for metric in REFERENCES if name == "iou" else ():
        for class_name, values in rows.groupby("name")[metric] if metric in rows else ():
            of_baseline = list(baseline.get(class_name, {}).values()) if baseline else [0.0]
            shared = values.notna().all() and values.max() - values.min() < _SAME
            if shared and of_baseline:
                found.setdefault(metric, {})[class_name] = 100 * (
                    values.mean() - mean_interval(of_baseline).mean)
    return found


def _roles(rows: pd.DataFrame, values: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    # If arms were trained with different class splits, the role in most trials counts.
    role_of = rows.groupby("name")["role"].agg(lambda roles: roles.mode().iloc[0])
    shown = pd.DataFrame(values).mean(axis=1).sort_values(ascending=False, kind="stable")
    roles = {role: [name for name in shown.index if role_of[name] == role] for role in style.ROLES}
    return {role: names for role, names in roles.items() if names}


def _draw_panel(
    panel: Axes, role: str, names: Sequence[str], drawn: ClassResults,
    styles: Mapping[str, Mapping[str, Any]],
) -> None:
    count = len(drawn.values)
    for position, (arm, values) in enumerate(drawn.values.items()):
        offset = _SPREAD * ((position + 0.5) / count - 0.5)
        there = [(values[name], row + offset) for row, name in enumerate(names) if name in values]
        panel.plot(
            *zip(*there, strict=True), label=shorten_label(arm), gid=f"{role}-{position}",
            **{**styles[arm], **style.MEAN, "markersize": 5})
    for metric, values in drawn.references.items():
        # A line of the height of its row for each class; NaN ends it.
        lines = [
            (values[name], row + half) for row, name in enumerate(names) if name in values
            for half in (-0.45, 0.45, math.nan)]
        panel.plot(*zip(*lines, strict=True), gid=f"{role}-{metric}", label=REFERENCES[metric],
                   **style.REFERENCES[metric])
    if drawn.baseline:
        panel.axvline(0, **style.BASELINE)
    style.label_rows(panel, list(names))
    panel.set_title(style.ROLE_TITLES[role], loc="left")
