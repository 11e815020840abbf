"""Lines for the floors and the ceiling of mask IoU, which all figures about it show."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.tables.references import find_references

_NAMES = {"iou_filled_box": "box", "iou_ellipse": "ellipse", "iou_ceiling": "ceiling"}


def draw_references(
    panel: Axes, arms: Sequence[ArmTrials], metric: str, role: str, *, horizontal: bool = False
) -> None:
    """Draw a dotted line at each reference that all arms share, in percent, see `references`.

    Args:
        panel: Panel to draw in.
        arms: Arms of the figure.
        metric: `<box source>/<metric>`; only mask IoU in given boxes has references.
        role: "novel" or "seen".
        horizontal: Whether the metric is on the vertical axis; the ceiling is then left out, as it
            would press the curves together.
    """
    finished = sum(bool(arm.finished) for arm in arms)
    for reference in find_references(arms, metric):
        value = getattr(reference, role)
        if value is None or len(reference.arms) < finished or (
                horizontal and reference.metric == "iou_ceiling"):
            continue
        line = {"color": style.QUIET, "linestyle": ":", "zorder": 0, "gid": reference.metric}
        note = {"textcoords": "offset points", "color": style.QUIET, "fontsize": "x-small"}
        if horizontal:
            panel.axhline(100 * value, **line)
            panel.annotate(
                _NAMES[reference.metric], (1, 100 * value), (-2, 2),
                xycoords=("axes fraction", "data"), ha="right", **note)
        else:
            panel.axvline(100 * value, **line)
            panel.annotate(
                _NAMES[reference.metric], (100 * value, 0), (2, 2),
                xycoords=("data", "axes fraction"), rotation=90, va="bottom", **note)
