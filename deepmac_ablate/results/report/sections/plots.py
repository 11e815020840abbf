"""The report's figures with what they are called and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from deepmac_ablate import class_splits
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.arms import ArmTrials, group_by_arm
from deepmac_ablate.results.effects.axis_effects import axis_effects
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report import gallery
from deepmac_ablate.results.report.figures import arms as arms_figure
from deepmac_ablate.results.report.figures import classes as classes_figure
from deepmac_ablate.results.report.figures import cost as cost_figure
from deepmac_ablate.results.report.figures import curves as curves_figure
from deepmac_ablate.results.report.figures import effects as effects_figure
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_MOST_ARMS = 30
_MOST_POINTS = 18
_MOST_EFFECTS = 30
# Curves and classes are told apart by colours, lines and markers.
_MOST_TOLD_APART = 6


class Plot(NamedTuple):
    """A figure of the page.

    Attributes:
        name: Of its files, and what its ids begin with.
        title: Its head.
        caption: How it is read; where there is no figure, why.
        figure: None where there is nothing to draw.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None


class Subject(NamedTuple):
    """What is drawn.

    Attributes:
        frame: As `columns` says.
        arms: All its arms.
        classes: Numbers by class, as `results.per_class` returns them.
        metric: `<reading>/<metric>`.
        as_trained: Whether seen and novel classes are those of training.
    """

    frame: pd.DataFrame
    arms: Sequence[ArmTrials]
    classes: pd.DataFrame
    metric: str
    as_trained: bool


def subject_of(
    frame: pd.DataFrame, classes: pd.DataFrame, metric: str, split: class_splits.Split
) -> Subject:
    """Return what to draw of a data frame.

    Args:
        frame: From `results.load`, or of a split from `results.with_split`.
        classes: From `results.per_class`.
        metric: `<reading>/<metric>`.
        split: The one that `frame` was made for; None: the trials' own.
    """
    if split is not None:
        known = classes.drop_duplicates("category_id").rename(columns={"category_id": "id"})
        roles = class_splits.roles(split, known[["id", "name"]].itertuples())
        classes = classes.assign(role=classes["category_id"].map(roles))
    return Subject(frame, group_by_arm(frame).arms, classes, metric, split is None)


def arms(subject: Subject) -> Plot:
    """Draw the numbers of each arm."""
    shown, note = gallery.telling(subject.arms, subject.metric, _MOST_ARMS)
    figure = arms_figure.draw(shown, subject.metric)
    caption = (
        "Each small mark is one seed; the bar above is their mean and the line its 95 % t interval "
        "over seeds. The dashed line is the baseline's mean. Both panels have scales of their own.")
    return _plot("arms", "Arms", figure, caption, note, "no trial has finished with this metric")


def effects(subject: Subject) -> Plot:
    """Draw the effect of each axis."""
    roles = subject.classes if subject.as_trained else None
    found = axis_effects(subject.frame, subject.metric, per_class=roles)
    rows = found.rows[: 2 * _MOST_EFFECTS]
    note = "" if len(rows) == len(found.rows) else (
        f"Shown are the first {_MOST_EFFECTS} of {len(found.rows) // 2} changes.")
    figure = effects_figure.draw(rows, subject.metric)
    caption = (
        "How much a level changes the metric when it takes the place of the baseline's, by seed, "
        "and as a mean over the levels of the other axes that both sides have. Lines are 95 % t "
        "intervals over the n seeds that have finished in all of these arms; where one reaches "
        "over 0, so many seeds do not tell.")
    return _plot("effects", "Effects of the axes", figure, caption, note,
                 "no two trials of one seed that differ in one axis have finished")


def cost(subject: Subject) -> Plot:
    """Draw cost against novel classes."""
    shown, note = gallery.telling(subject.arms, subject.metric, _MOST_POINTS)
    figure = cost_figure.draw(shown, subject.metric)
    caption = (
        "Up is better on novel classes, left is cheaper; what is worth its cost has no arm above "
        "it to the left. Vertical lines are 95 % t intervals over seeds.")
    return _plot("cost", "Cost", figure, caption, note,
                 "no finished arm's cost is known (costs.json is written by a launch)")


def classes(subject: Subject) -> Plot:
    """Draw each class."""
    shown, note = gallery.telling(subject.arms, subject.metric, _MOST_TOLD_APART)
    figure = classes_figure.draw(shown, subject.classes, subject.metric)
    caption = (
        "A row a class and a mark an arm, means over seeds: right of the line, the arm is better "
        "than the baseline. Where there is no baseline, values are shown. Means of a few objects "
        "scatter; no interval is drawn here.")
    return _plot("classes", "Classes", figure, caption, note,
                 "no finished trial has left numbers by class")


def curves(subject: Subject) -> Plot:
    """Draw learning curves."""
    shown, note = gallery.telling(subject.arms, subject.metric, _MOST_TOLD_APART)
    runs, broken = _runs(shown, subject)
    figure = curves_figure.draw(runs, subject.metric)
    caption = (
        "A line a trial; seeds of an arm look alike. The loss is averaged over neighbouring steps. "
        f"What is said of {metric_title(subject.metric)} was evaluated during training.")
    if not subject.as_trained:
        caption += " Only the loss is shown: evaluations on the way know no other class split."
    return _plot("curves", "Learning curves", figure, " ".join([caption, *broken]), note,
                 "no trial of these arms has left numbers of its training here")


def _runs(
    arms: Sequence[ArmTrials], subject: Subject
) -> tuple[list[curves_figure.Run], Sequence[str]]:
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
            shown = evaluations if subject.as_trained else ()
            runs.append(curves_figure.Run(arm.label, metrics, shown))
    return runs, broken


def _plot(
    name: str, title: str, figure: Figure | None, caption: str, note: str, nothing: str
) -> Plot:
    if figure is None:
        return Plot(name, title, f"Nothing to draw: {nothing}.", None)
    return Plot(name, title, f"{caption} {note}".strip(), figure)


# In their order on the page; also those that have nothing to show make a plot, which says so.
PLOTS: Mapping[str, Callable[[Subject], Plot]] = {
    make.__name__: make for make in (arms, effects, cost, classes, curves)}
