"""Mask IoU over box noise, one line per arm: how mask heads cope with inaccurate boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

    Dotted lines are the floors of mask IoU in the same boxes, see `references`.

    Args:
        arms: The arms. Ground-truth boxes without jitter count as ratio 0.

    Returns:
        The figure; None if no arm was evaluated in jittered boxes.
    """
    modes = list(dict.fromkeys(
        noise.mode for arm in arms for row in arm.finished for name in row
        if (noise := _noise(name)) and row[name] is not None))
    curves = {
        (mode, role): {
            arm.label: curve for arm in arms if (curve := _curve(arm, mode, f"iou/{role}"))}
        for mode in modes for role in style.ROLE_TITLES}
    if not any(curves.values()):
        return None
    labels = [arm.label for arm in arms]
    with style.applied():
        figure = style.new_figure(_INCHES_HIGH * len(modes) + 0.18 * ((len(arms) + 1) // 2))
        rows = figure.subplots(len(modes), len(style.ROLE_TITLES), sharey=True, squeeze=False)
        for mode, panels in zip(modes, rows, strict=True):
            panels[0].set_ylabel("mask IoU, in %")
            for panel, (role, title) in zip(panels, style.ROLE_TITLES.items(), strict=True):
                _draw_panel(panel, curves[mode, role], labels)
                _draw_floors(panel, arms, mode, role)
                panel.set_title(title)
                panel.set_xlabel(f"jitter of the boxes ({mode})")
        handles = {line.get_label(): line for line in rows[0][0].get_lines()}
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=2,
            handlelength=3.2)
    return figure


def _draw_panel(
    panel: Axes, curves: Mapping[str, Mapping[float, Interval]], labels: Sequence[str]
) -> None:
    for label, curve in curves.items():
        ratios = sorted(curve)
        arm_style = style.arm_style(labels.index(label))
        panel.plot(
            ratios, [100 * curve[ratio].mean for ratio in ratios], label=shorten_label(label),
            markersize=4, linewidth=1.2, **arm_style)
        with_interval = [ratio for ratio in ratios if curve[ratio].low is not None]
        panel.fill_between(
            with_interval, [100 * curve[ratio].low for ratio in with_interval],
            [100 * curve[ratio].high for ratio in with_interval], color=arm_style["color"],
            alpha=0.15, linewidth=0)
    panel.set_xticks(sorted({ratio for curve in curves.values() for ratio in curve}))
    panel.grid()


def _draw_floors(
    panel: Axes, arms: Sequence[ArmTrials], mode: box_jitter.Mode, role: str
) -> None:
    """Draw the floors of the first arm that has them; arms of one dataset share them."""
    for metric, title in REFERENCES.items():
        found = (_curve(arm, mode, f"{metric}/{role}") for arm in arms)
        curve = next(filter(None, found), None) if title.startswith("floor") else None
        if curve:
            ratios = sorted(curve)
            panel.plot(
                ratios, [100 * curve[ratio].mean for ratio in ratios], label=title,
                color=style.QUIET, linestyle=":" if "box" in title else (0, (1, 3)), linewidth=1.2)


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
