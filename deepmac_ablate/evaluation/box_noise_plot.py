"""Plot of mask IoU over box noise: how the mask head copes with inaccurate boxes."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deepmac_ablate import box_jitter

# Distinguishable without colour, by line, marker and shade.
_STYLES = {
    "seen": {"color": "#1b4f8a", "linestyle": "-", "marker": "o"},
    "novel": {"color": "#e07b39", "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
}
_INCHES = (4.8, 3.6)


def plot_box_noise(result: Mapping[str, float | None]) -> bytes | None:
    """Plot mask IoU over the jitter ratio, for seen and for novel classes.

    Args:
        result: Scalars by name, from `summary.mean_scalars`. The plot shows `iou`, the mean over
            classes of the IoU with the whole annotated mask; ground-truth boxes are ratio 0.

    Returns:
        A PNG file with one panel per jitter mode, or None if no jittered boxes were evaluated.
    """
    modes = _curves(result)
    if not modes:
        return None
    figure = Figure(figsize=(_INCHES[0] * len(modes), _INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    for panel, (mode, curves) in zip(panels, modes.items(), strict=True):
        _draw_panel(panel, curves)
        panel.set_title(f"ground-truth boxes jittered, mode {mode}", fontsize="medium")
    panels[0].set_ylabel("mask IoU in %, mean over classes")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _draw_panel(panel: Axes, curves: Mapping[str, Mapping[float, float]]) -> None:
    for role, curve in curves.items():
        ratios = sorted(curve)
        panel.plot(
            ratios, [100 * curve[ratio] for ratio in ratios], label=f"{role} classes",
            **_STYLES[role])
    panel.set_xlabel("jitter ratio")
    panel.set_xticks(sorted({ratio for curve in curves.values() for ratio in curve}))
    panel.tick_params(axis="x", rotation=45)
    panel.grid(color="0.9")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)


def _curves(
    result: Mapping[str, float | None],
) -> dict[box_jitter.Mode, dict[str, dict[float, float]]]:
    """Return mode -> role -> ratio -> mask IoU, for the roles that have a value."""
    modes: dict[box_jitter.Mode, dict[str, dict[float, float]]] = defaultdict(dict)
    for role in _STYLES:
        plain = result.get(f"groundtruth/iou/{role}")
        for name, value in result.items():
            box_source, _, rest = name.partition("/")
            noise = box_jitter.parse_jitter(box_source)
            if noise is None or value is None or rest != f"iou/{role}":
                continue
            start = {} if plain is None else {0.0: plain}
            modes[noise.mode].setdefault(role, start)[noise.ratio] = value
    return dict(modes)
