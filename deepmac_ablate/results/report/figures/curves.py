"""Learning curves: the loss, and what evaluations during training said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style

# More points are no sharper on a page; they are averaged in order.
_MOST_POINTS = 150
_LOSS = "train/total_loss"
_INCHES_HIGH = 3.1


class Run(NamedTuple):
    """What a trial noted on its way.

    Attributes:
        arm: The label of its arm.
        metrics: Lines of metrics.jsonl.
        evaluations: Lines of evaluations.jsonl, and the result.
    """

    arm: str
    metrics: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]


def draw(runs: Sequence[Run], metric: str) -> Figure | None:
    """Draw a line a trial, the same for all seeds of an arm: loss, then novel and seen numbers.

    Args:
        runs: The trials, arm by arm.
        metric: `<reading>/<metric>` of the evaluations.

    Returns:
        None where nothing was noted.
    """
    novel, seen = f"{metric}/novel", f"{metric}/seen"
    panels = {"loss": _lines(runs, "metrics", _LOSS)}
    for title, name in (("novel classes", novel), ("seen classes", seen)):
        panels[title] = _lines(runs, "evaluations", name, 100.0)
    # A single point, at the end, is in every other figure.
    shown = {title: lines for title, lines in panels.items()
             if any(len(steps) > 1 for _, steps, _ in lines)}
    if not shown:
        return None
    arms = list(dict.fromkeys(run.arm for run in runs))
    with style.applied():
        figure = style.figure(_INCHES_HIGH + 0.18 * ((len(arms) + 1) // 2))
        axes = figure.subplots(1, len(shown), squeeze=False)[0]
        # Said once: both panels show the same metric.
        y_title = f"{metric_title(metric)}, in %"
        for panel, (title, lines) in zip(axes, shown.items(), strict=True):
            _draw_panel(panel, lines, arms, with_markers=title != "loss")
            panel.set_title(title)
            panel.set_ylabel("total loss" if title == "loss" else y_title)
            if title != "loss":
                y_title = ""
        handles = {line.get_label(): line for panel in axes for line in panel.get_lines()}
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=2,
            handlelength=3.2)
    return figure


def _draw_panel(
    panel: Axes, lines: Iterable[tuple[str, list[float], list[float]]], arms: list[str],
    with_markers: bool,
) -> None:
    for arm, steps, values in lines:
        look = {**style.of_arm(arms.index(arm)), "markersize": 3.5, "linewidth": 1.1}
        if not with_markers:
            look["marker"] = None
        panel.plot(steps, values, label=style.label(arm), alpha=0.85, **look)
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
            found.append((run.arm, *(_thinned(it) for it in (steps, values))))
    return found


def _thinned(values: Sequence[float]) -> list[float]:
    """Average neighbours so that at most `_MOST_POINTS` are left."""
    size = -(-len(values) // _MOST_POINTS)
    groups = [values[at : at + size] for at in range(0, len(values), size)]
    return [sum(group) / len(group) for group in groups]
