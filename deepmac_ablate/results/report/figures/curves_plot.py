"""Learning curves: the loss, and the results of evaluations during training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.data.label_text import shorten_label
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.report.figures.reference_lines import draw_references

# Neighbouring points are averaged down to this number; a page shows no more.
_MAX_POINTS = 150
_LOSS = "train/total_loss"
_INCHES_HIGH = 3.1


class Run(NamedTuple):
    """Metrics of a trial during training.

    Attributes:
        arm: Label of the trial's arm.
        metrics: Lines of metrics.jsonl.
        evaluations: Lines of evaluations.jsonl, and the result.
    """

    arm: str
    metrics: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]


def draw_curves(
    runs: Sequence[Run], metric: str, arms: Sequence[ArmTrials] = ()
) -> Figure | None:
    """Draw one line per trial, in panels for the loss, novel classes and seen classes.

    Args:
        runs: Trials, arm by arm; those of an arm share a style.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".
        arms: The arms of the trials, for the floors of mask IoU.

    Returns:
        The figure; None if the runs have no metrics.
    """
    novel, seen = f"{metric}/novel", f"{metric}/seen"
    panels = {"loss": _lines(runs, "metrics", _LOSS)}
    for title, name in (("novel classes", novel), ("seen classes", seen)):
        panels[title] = _lines(runs, "evaluations", name, 100.0)
    # A single final result is not a curve; the other figures show it, but not the loss.
    shown = {title: lines for title, lines in panels.items()
             if any(len(steps) > 1 or title == "loss" for _, steps, _ in lines)}
    if not shown:
        return None
    labels = list(dict.fromkeys(run.arm for run in runs))
    with style.applied():
        figure = style.new_figure(_INCHES_HIGH + 0.18 * ((len(labels) + 1) // 2))
        axes = figure.subplots(1, len(shown), squeeze=False)[0]
        # Written once, as both panels show the same metric.
        y_title = f"{metric_title(metric)}, in %"
        for panel, (title, lines) in zip(axes, shown.items(), strict=True):
            _draw_panel(panel, lines, labels, with_markers=title != "loss")
            panel.set_title(title)
            panel.set_ylabel("total loss" if title == "loss" else y_title)
            if title != "loss":
                y_title = ""
                draw_references(panel, arms, metric, title.partition(" ")[0], horizontal=True)
        handles = {
            line.get_label(): line for panel in axes for line in panel.get_lines()
            if not line.get_label().startswith("_")}
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=2,
            handlelength=3.2)
    return figure


def _draw_panel(
    panel: Axes, lines: Iterable[tuple[str, list[float], list[float]]], labels: list[str],
    with_markers: bool,
) -> None:
    for arm, steps, values in lines:
        arm_style = {**style.arm_style(labels.index(arm)), "markersize": 3.5, "linewidth": 1.1}
        # A line through one point would be invisible.
        if not with_markers and len(steps) > 1:
            arm_style["marker"] = None
        panel.plot(steps, values, label=shorten_label(arm), alpha=0.85, **arm_style)
    panel.set_xlabel("step")
    panel.grid()
    panel.margins(x=0.02)


def _lines(
    runs: Sequence[Run], source: str, name: str, factor: float = 1.0
) -> list[tuple[str, list[float], list[float]]]:
    found = []
    for run in runs:
        points = [(line["step"], factor * line[name]) for line in getattr(run, source)
                  if line.get(name) is not None]
        if points:
            steps, values = zip(*points, strict=True)
            found.append((run.arm, _average_neighbours(steps), _average_neighbours(values)))
    return found


def _average_neighbours(values: Sequence[float]) -> list[float]:
    """Average neighbouring values so that at most `_MAX_POINTS` remain."""
    size = -(-len(values) // _MAX_POINTS)
    groups = [values[at : at + size] for at in range(0, len(values), size)]
    return [sum(group) / len(group) for group in groups]
