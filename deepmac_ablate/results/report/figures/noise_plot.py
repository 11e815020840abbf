"""Mask IoU over box noise, one line per arm: how mask heads cope with inaccurate boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmac_ablate import box_jitter
from deepmac_ablate.data.label_text import shorten_label
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.statistics import Interval, mean_interval
from deepmac_ablate.results.tables.references import REFERENCES

_INCHES_HIGH = 2.9


def draw_noise(arms: Sequence[ArmTrials]) -> Figure | None:
    """Draw a panel per jitter mode and role, with a line per arm and bands over seeds.

    Grey lines are the floors of mask IoU in the same boxes, see `references`.

    Args:
        arms: The arms. Ground-truth boxes without jitter count as ratio 0.

    Returns:
        The figure; None if no arm was evaluated in jittered boxes.
    """
    modes = list(dict.fromkeys(
        noise.mode for arm in arms for row in arm.finished for name in row
        if (noise := _noise(name)) and row[name] is not None))
    if not modes:
        return None
    styles = style.arm_styles(arm.label for arm in arms)
    with style.applied():
        figure = style.new_figure(_INCHES_HIGH * len(modes) + 0.18 * ((len(arms) + 1) // 2))
        rows = figure.subplots(
            len(modes), len(style.ROLE_TITLES), sharex="row", sharey=True, squeeze=False)
        ends = []
        for mode, panels in zip(modes, rows, strict=True):
            for panel, (role, title) in zip(panels, style.ROLE_TITLES.items(), strict=True):
                for arm in arms:
                    curve = _curve(arm, mode, f"iou/{role}")
                    ends += _draw_line(panel, curve, shorten_label(arm.label), styles[arm.label])
                ends += _draw_floors(panel, arms, mode, role)
                panel.set_xticks(sorted({
                    ratio for line in panel.get_lines() for ratio in line.get_xdata()}))
                panel.set_title(title)
                panel.set_xlabel(f"jitter of the boxes ({mode})")
                panel.grid()
        limits = style.axis_limits(ends, (0.0, 100.0))
        rows[0][0].set_ylim(limits)
        for panels in rows:
            panels[0].set_ylabel(f"mask IoU,\n{style.name_range('%', limits)}")
        handles = {line.get_label(): line for panel in rows.flat for line in panel.get_lines()}
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=2,
            handlelength=3.2)
    return figure


def _draw_line(
    panel: Axes, curve: Mapping[float, Interval], label: str, arm_style: Mapping[str, Any]
) -> list[float]:
    """Draw an arm, if it has a curve, and return the ends of what is drawn."""
    ratios = sorted(curve)
    if not ratios:
        return []
    means = [100 * curve[ratio].mean for ratio in ratios]
    panel.plot(ratios, means, label=label, markersize=5, linewidth=1.2, **arm_style)
    between = [ratio for ratio in ratios if curve[ratio].low is not None]
    low, high = (
        [100 * getattr(curve[ratio], end) for ratio in between] for end in ("low", "high"))
    panel.fill_between(
        between, low, high, color=arm_style["color"], alpha=0.15, linewidth=0)
    return [*means, *low, *high]


def _draw_floors(
    panel: Axes, arms: Sequence[ArmTrials], mode: box_jitter.Mode, role: str
) -> list[float]:
    """Draw the floors of the first arm that has them; arms of one dataset share them.

    Returns:
        The floors in percent.
    """
    drawn = []
    for metric, title in REFERENCES.items():
        found = (_curve(arm, mode, f"{metric}/{role}") for arm in arms)
        curve = next(filter(None, found), None) if title.startswith("floor") else None
        if curve:
            ratios = sorted(curve)
            values = [100 * curve[ratio].mean for ratio in ratios]
            panel.plot(ratios, values, label=title, **style.REFERENCES[metric])
            drawn += values
    return drawn


def _curve(arm: ArmTrials, mode: box_jitter.Mode, metric: str) -> dict[float, Interval]:
    """Return the mean over seeds at each ratio; nothing without jittered boxes of this mode."""
    names = {}
    for name in {name for row in arm.finished for name in row}:
        if (noise := _noise(name)) and noise.mode == mode and name.endswith(f"/{metric}"):
            names[noise.ratio] = name
    if names:
        names.setdefault(0.0, f"groundtruth/{metric}")
    values = {ratio: list(arm.values_by_seed(name).values()) for ratio, name in names.items()}
    return {ratio: mean_interval(found) for ratio, found in values.items() if found}


def _noise(name: str) -> box_jitter.Jitter | None:
    source, _, rest = name.partition("/")
    return box_jitter.parse_jitter(source) if rest.count("/") == 1 else None
