"""Learning curves: losses, and the results of evaluations during training."""

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
# Titles of panels, by metric.
LOSSES = {"train/total_loss": "total loss", "train/mask_loss": "mask loss"}
_INCHES_HIGH = 2.3
# Ratio between the highest and the lowest loss above which the axis is logarithmic.
_LOGARITHMIC_FROM = 5.0

_Line = tuple[str, list[float], list[float]]


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
    runs: Sequence[Run], metric: str, arms: Sequence[ArmTrials] = (),
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Figure | None:
    """Draw one line per trial, in panels for the losses, novel classes and seen classes.

    Args:
        runs: Trials, arm by arm; those of an arm share a style.
        metric: `<box source>/<metric>`, such as "groundtruth/iou".
        arms: The arms of the trials, for the floors of mask IoU.
        styles: Styles of all arms of the page, from `style.arm_styles`; None for only these arms.

    Returns:
        The figure; None if the runs have no metrics.
    """
    losses = {title: lines for name, title in LOSSES.items()
              if (lines := _lines(runs, "metrics", name))}
    evaluated = {role: _lines(runs, "evaluations", f"{metric}/{role}", 100.0)
                 for role in style.ROLES}
    # A single final result is not a curve; the other figures show it, but not the loss.
    evaluated = {role: lines for role, lines in evaluated.items()
                 if any(len(steps) > 1 for _, steps, _ in lines)}
    count = len(losses) + len(evaluated)
    if not count:
        return None
    labels = list(dict.fromkeys(run.arm for run in runs))
    styles = styles or style.arm_styles(labels)
    with style.applied():
        grid = ((count + 1) // 2, min(count, 2))
        figure = style.new_figure(
            _INCHES_HIGH * grid[0] + 0.4 + 0.18 * ((len(labels) + 1) // 2))
        axes = list(figure.subplots(*grid, squeeze=False).flat)
        for panel, (title, lines) in zip(axes, losses.items(), strict=False):
            _draw_losses(panel, lines, styles)
            panel.set_title(title)
        panels = dict(zip(evaluated, axes[len(losses):count], strict=True))
        ends = []
        for role, panel in panels.items():
            ends += _draw_lines(panel, evaluated[role], styles, with_markers=True)
            ends += draw_references(panel, arms, metric, role, horizontal=True)
            panel.set_title(style.ROLE_TITLES[role])
        for panel in panels.values():
            limits = style.axis_limits(ends, (0.0, 100.0))
            panel.set_ylim(limits)
            # Written once, as both panels show the same metric.
            if panel is next(iter(panels.values())):
                panel.set_ylabel(f"{metric_title(metric)},\n{style.name_range('%', limits)}")
        _set_steps(axes[:count])
        for unused in axes[count:]:
            unused.set_visible(False)
        handles = {
            line.get_label(): line for panel in axes for line in panel.get_lines()
            if not line.get_label().startswith("_")}
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=2,
            handlelength=3.2)
    return figure


def _draw_losses(
    panel: Axes, lines: Iterable[_Line], styles: Mapping[str, Mapping[str, Any]]
) -> None:
    """Draw losses from 0 upwards, or on a logarithmic axis if they differ much."""
    values = _draw_lines(panel, lines, styles, with_markers=False)
    if max(values) > _LOGARITHMIC_FROM * min(values) > 0:
        panel.set_yscale("log")
        panel.set_ylabel("logarithmic axis")
    elif min(values) >= 0:
        panel.set_ylim(0, 1.1 * max(values) or 1.0)
    style.format_ticks(panel.yaxis)


def _draw_lines(
    panel: Axes, lines: Iterable[_Line], styles: Mapping[str, Mapping[str, Any]],
    *, with_markers: bool,
) -> list[float]:
    """Draw a line per trial and return all values."""
    drawn = []
    for arm, steps, values in lines:
        arm_style = {**styles[arm], "markersize": 4, "linewidth": 1.1}
        # A line through one point would be invisible.
        if not with_markers and len(steps) > 1:
            arm_style["marker"] = None
        panel.plot(steps, values, label=shorten_label(arm), alpha=0.85, **arm_style)
        drawn += values
    panel.grid()
    return drawn


def _set_steps(panels: Iterable[Axes]) -> None:
    """Let all panels begin at step 0 and have the same end."""
    from matplotlib.ticker import MaxNLocator

    panels = list(panels)
    last = max(
        max(line.get_xdata()) for panel in panels for line in panel.get_lines()
        if not line.get_gid())
    for panel in panels:
        panel.set_xlim(0, 1.03 * last)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.set_xlabel("step")


def _lines(
    runs: Sequence[Run], source: str, name: str, factor: float = 1.0
) -> list[_Line]:
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
