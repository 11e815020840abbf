"""Lines for the floors and the ceiling of mask IoU, which all figures about it show."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.tables.references import find_references

# Names at the lines, and the sides that they are aligned to, so that two floors keep apart.
_NAMES = {
    "iou_filled_box": ("box", "right"), "iou_ellipse": ("ellipse", "left"),
    "iou_ceiling": ("ceiling", "right")}


def draw_references(
    panel: Axes, arms: Sequence[ArmTrials], metric: str, role: str, *, horizontal: bool = False
) -> list[float]:
    """Draw a line at each reference that all arms share, see `references`.

    Args:
        panel: Panel to draw in.
        arms: Arms of the figure.
        metric: `<box source>/<metric>`; only mask IoU in given boxes has references.
        role: "novel" or "seen".
        horizontal: Whether the metric is on the vertical axis; the ceiling is then left out, as it
            would press the curves together.

    Returns:
        The references in percent.
    """
    finished = sum(bool(arm.finished) for arm in arms)
    drawn = []
    for reference in find_references(arms, metric):
        value = getattr(reference, role)
        if value is None or len(reference.arms) < finished or (
                horizontal and reference.metric == "iou_ceiling"):
            continue
        drawn.append(100 * value)
        line = style.REFERENCES[reference.metric] | {"gid": f"{role}-{reference.metric}"}
        note = {"textcoords": "offset points", "color": style.QUIET, "fontsize": "x-small"}
        name, side = _NAMES[reference.metric]
        if horizontal:
            panel.axhline(100 * value, **line)
            panel.annotate(
                name, (1, 100 * value), (-2, 2), xycoords=("axes fraction", "data"), ha="right",
                **note)
        else:
            panel.axvline(100 * value, **line)
            panel.annotate(
                name, (100 * value, 1), (2 if side == "right" else -2, 2),
                xycoords=("data", "axes fraction"), ha=side, va="bottom", **note)
    return drawn
