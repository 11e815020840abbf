"""Differences with their intervals: of arms from the baseline, and of changes of a level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from deepmac_ablate.data.label_text import shorten_label
from deepmac_ablate.results.effects.axis_effects import Effect
from deepmac_ablate.results.effects.effects_rendering import change_text
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.statistics import Difference

_INCHES_PER_ROW = 0.4
_INCHES_BESIDE = 0.95
_MAX_LABEL_LENGTH = 52
# Offsets of novel and seen classes within a row, as a share of the row.
_OFFSETS = {"novel": -0.14, "seen": 0.14}


class DrawnDifference(NamedTuple):
    """Difference to draw.

    Attributes:
        label: Label of its row, which a difference on novel and one on seen classes share.
        role: "novel" or "seen".
        difference: The difference over seeds, as a fraction.
    """

    label: str
    role: str
    difference: Difference


def draw_effects(effects: Sequence[Effect], metric: str) -> Figure | None:
    """Draw one row per change of a level, the first on top, see `draw_differences`."""
    return draw_differences([
        DrawnDifference(
            f"{shorten_label(change_text(effect), _MAX_LABEL_LENGTH)}, n {effect.difference.n}",
            effect.on, effect.difference)
        for effect in effects], f"change of {metric_title(metric)}")


def draw_differences(
    differences: Sequence[DrawnDifference], title: str, width: float = style.WIDTH
) -> Figure | None:
    """Draw one row per label, novel classes above seen ones, in percentage points.

    Args:
        differences: Differences to draw, the first on top.
        title: Meaning of a difference.
        width: Width of the figure in inches.

    Returns:
        The figure; None if no difference is known.
    """
    known = [each for each in differences if each.difference.n]
    if not known:
        return None
    rows = list(dict.fromkeys(each.label for each in known))
    with style.applied():
        figure = style.new_figure(_INCHES_BESIDE + _INCHES_PER_ROW * len(rows), width)
        panel = figure.subplots()
        panel.axvline(0, **style.BASELINE)
        ends = [0.0]
        for place, each in enumerate(known):
            mean, low, high, *_ = each.difference
            row = rows.index(each.label) + _OFFSETS[each.role]
            role_style = style.ROLES[each.role]
            if low is not None:
                panel.plot([100 * low, 100 * high], [row, row], color=role_style["color"],
                           gid=f"interval-{place}", **style.INTERVAL)
            panel.plot(100 * mean, row, gid=f"difference-{place}",
                       label=style.ROLE_TITLES[each.role], **style.MEAN, **role_style)
            ends += [100 * end for end in (mean, low, high) if end is not None]
        style.label_rows(panel, rows, max_length=80)
        limits = style.axis_limits(ends)
        panel.set_xlim(limits)
        style.set_x_title(figure, f"{title},\n{style.name_range('points', limits)}")
        handles, labels = panel.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        figure.legend(named.values(), named.keys(), loc="outside upper right", ncols=2)
    return figure
