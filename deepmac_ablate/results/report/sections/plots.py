"""Figures of the report with their titles and captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from deepmac_ablate import class_splits
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.arms import ArmTrials, group_by_arm
from deepmac_ablate.results.effects.axis_effects import axis_effects
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.report.figures.arms_plot import draw_arms
from deepmac_ablate.results.report.figures.classes_plot import draw_classes
from deepmac_ablate.results.report.figures.cost_plot import draw_cost
from deepmac_ablate.results.report.figures.curves_plot import LOSSES, Run, draw_curves
from deepmac_ablate.results.report.figures.differences_plot import draw_effects
from deepmac_ablate.results.report.selection import most_informative_arms
from deepmac_ablate.results.tables.arm_table import CLASSES
from deepmac_ablate.results.tables.references import FLOOR_MARK, find_references
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_MAX_ARMS = 30
_MAX_POINTS = 18
_MAX_EFFECTS = 30
# As many arms as colours, markers and line styles keep apart.
_MAX_STYLES = 6
_BASELINE_LINE = " The dashed line is the baseline's mean."
_REFERENCE_LINES = (
    " Dotted lines are floors: what filled boxes and inscribed ellipses score without training.")


class Plot(NamedTuple):
    """Figure of the page.

    Attributes:
        name: Name of its files, and prefix of its ids.
        title: Title above it.
        caption: How to read it; if there is no figure, why.
        figure: The figure; None if there is nothing to draw.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None


class PlotData(NamedTuple):
    """Data of the figures.

    Attributes:
        frame: Results with the columns of `columns`.
        arms: All arms of the frame.
        classes: Results per class, from `results.per_class`.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".
        as_trained: True if seen and novel classes are those of training.
        styles: Colour, marker and line of each arm, the same in all figures.
    """

    frame: pd.DataFrame
    arms: Sequence[ArmTrials]
    classes: pd.DataFrame
    metric: str
    as_trained: bool
    styles: Mapping[str, Mapping[str, Any]]


def make_plot_data(
    frame: pd.DataFrame, classes: pd.DataFrame, metric: str, split: class_splits.Split
) -> PlotData:
    """Return the data of the figures for a data frame.

    Args:
        frame: Results from `results.load`, or for a split from `results.with_split`.
        classes: Results per class, from `results.per_class`.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".
        split: Class split of `frame`; None stands for the split of training.
    """
    if split is not None:
        known = classes.drop_duplicates("category_id").rename(columns={"category_id": "id"})
        roles = class_splits.roles(split, known[["id", "name"]].itertuples())
        classes = classes.assign(role=classes["category_id"].map(roles))
    arms = group_by_arm(frame).arms
    # The arms that figures with few arms show come first, so that their colours differ.
    first = most_informative_arms(arms, metric, _MAX_STYLES).arms
    styles = style.arm_styles(arm.label for arm in (*first, *arms))
    return PlotData(frame, arms, classes, metric, split is None, styles)


def plot_arms(data: PlotData) -> Plot:
    """Draw the results of each arm."""
    shown, note = most_informative_arms(data.arms, data.metric, _MAX_ARMS)
    baseline = any(
        arm.baseline and _most_seeds([arm], data.metric, CLASSES) > 0 for arm in shown)
    caption = (
        "Each cross is one seed; the filled marker above is the mean"
        f"{_interval_text(shown, data.metric, ', and the line its 95 % t interval over seeds')}."
        f"{_BASELINE_LINE if baseline else ''} Both panels have the same scale."
        f"{_reference_text(shown, data.metric)}")
    figure = draw_arms(shown, data.metric)
    if figure and any(
            name.get_text().endswith(FLOOR_MARK) for name in figure.axes[0].get_yticklabels()):
        caption += f"{FLOOR_MARK} marks arms that are not above the floor."
    return _plot("arms", "Results by arm", figure, caption, note,
                 "no trial has finished with this metric")


def plot_effects(data: PlotData) -> Plot:
    """Draw the effect of each axis."""
    classes = data.classes if data.as_trained else None
    found = axis_effects(data.frame, data.metric, per_class=classes)
    rows = found.rows[: 2 * _MAX_EFFECTS]
    note = "" if len(rows) == len(found.rows) else (
        f"Showing the first {_MAX_EFFECTS} of {len(found.rows) // 2} changes.")
    caption = (
        "Change of the metric when a level replaces the baseline's level, paired by seed and "
        "averaged over those levels of the other axes that both sides have.")
    if any(effect.difference.low is not None for effect in rows):
        caption += (
            " Lines are 95 % t intervals over the n seeds that finished in all of these arms; an "
            "interval that contains 0 means that n seeds do not show an effect.")
    return _plot("effects", "Effect of each axis", draw_effects(rows, data.metric), caption, note,
                 "no two finished trials of the same seed differ in exactly one axis")


def plot_cost(data: PlotData) -> Plot:
    """Draw results on novel classes against cost."""
    shown, note = most_informative_arms(data.arms, data.metric, _MAX_POINTS)
    caption = (
        "Higher is better on novel classes, further left is cheaper; an arm is worth its cost if "
        "no other arm lies above it to the left." + _interval_text(
            shown, data.metric, " Vertical lines are 95 % t intervals over seeds.", ["novel"])
        + _reference_text(shown, data.metric))
    figure = draw_cost(shown, data.metric, data.styles)
    return _plot("cost", "Results against cost", figure, caption, note,
                 "the cost of the finished arms is unknown (a launch writes costs.json)")


def plot_classes(data: PlotData) -> Plot:
    """Draw the results for each class."""
    shown, note = most_informative_arms(data.arms, data.metric, _MAX_STYLES)
    caption = (
        "One row per class and one marker per arm, means over seeds. Right of the dashed line, the "
        "arm is better than the baseline; without a baseline, the metric itself is shown. Classes "
        "with few objects vary a lot, and no interval is drawn here."
        f"{_reference_text(shown, data.metric)}")
    figure = draw_classes(shown, data.classes, data.metric, data.styles)
    return _plot("classes", "Results by class", figure, caption, note,
                 "no finished trial has results per class")


def plot_curves(data: PlotData) -> Plot:
    """Draw learning curves."""
    shown, note = most_informative_arms(data.arms, data.metric, _MAX_STYLES)
    runs, broken = _read_runs(shown, data)
    figure = draw_curves(runs, data.metric, shown, data.styles)
    panels = {panel.get_title() for panel in figure.axes} if figure is not None else set()
    caption = "One line per trial; the seeds of an arm share a style."
    if panels & set(LOSSES.values()):
        caption += (
            " Losses are averaged over neighbouring steps, and comparable between arms with the "
            "same loss function only.")
    # Without an evaluation during training there is one point, which is not a curve.
    if panels & set(style.ROLE_TITLES.values()):
        title = metric_title(data.metric)
        numbers = {
            line["images"] for run in runs for line in run.evaluations if line.get("images")}
        ascending = " or ".join(f"{number:,}" for number in sorted(numbers))
        caption += (
            f" {title[0].upper()}{title[1:]} was evaluated during training"
            f"{f', on {ascending} images' if len(numbers) > 1 else ''}."
            f"{_reference_text(shown, data.metric)}")
    if not data.as_trained:
        caption += (
            " Only losses are shown, because evaluations during training have no results for "
            "another class split.")
    return _plot("curves", "Learning curves", figure, " ".join([caption, *broken]), note,
                 "no trial of these arms has training metrics here")


def _most_seeds(arms: Sequence[ArmTrials], metric: str, roles: Sequence[str]) -> int:
    """Return the largest number of seeds that an arm has a metric for."""
    return max(
        (len(arm.values_by_seed(f"{metric}/{role}")) for arm in arms for role in roles), default=0)


def _interval_text(
    arms: Sequence[ArmTrials], metric: str, text: str, roles: Sequence[str] = CLASSES
) -> str:
    """Return a text about the intervals of a figure; empty if no arm has two seeds."""
    return text if _most_seeds(arms, metric, roles) > 1 else ""


def _reference_text(arms: Sequence[ArmTrials], metric: str) -> str:
    """Return a sentence about the floors of mask IoU; empty if there are none."""
    return _REFERENCE_LINES if find_references(arms, metric) else ""


def _read_runs(arms: Sequence[ArmTrials], data: PlotData) -> tuple[list[Run], Sequence[str]]:
    """Return the runs of the arms' trials, and a sentence for each broken file."""
    runs, broken = [], []
    for arm in arms:
        for row in arm.trials:
            if not row["folder"]:
                continue
            workdir = TrialWorkdir(row["folder"])
            try:
                metrics, evaluations = workdir.read_metrics(), workdir.read_evaluations()
            except UserError as error:
                broken.append(str(error))
                continue
            if row["status"] == "finished":
                evaluations = [*evaluations, row]
            runs.append(Run(arm.label, metrics, evaluations if data.as_trained else ()))
    return runs, broken


def _plot(
    name: str, title: str, figure: Figure | None, caption: str, note: str, reason: str
) -> Plot:
    if figure is None:
        return Plot(name, title, f"Nothing to draw: {reason}.", None)
    return Plot(name, title, f"{caption} {note}".strip(), figure)


# In their order on the page. A figure without data makes a plot that says so.
PLOTS: Mapping[str, Callable[[PlotData], Plot]] = {
    "arms": plot_arms,
    "effects": plot_effects,
    "cost": plot_cost,
    "classes": plot_classes,
    "curves": plot_curves,
}
