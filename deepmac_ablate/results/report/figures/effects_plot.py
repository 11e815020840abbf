"""Effect of each change of level on novel and seen classes, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from deepmac_ablate.data.label_text import shorten_label
from deepmac_ablate.results.effects.axis_effects import Effect
from deepmac_ablate.results.effects.effects_rendering import change_text
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import style

_INCHES_PER_CHANGE = 0.4
_INCHES_BESIDE = 0.95
_MAX_CHANGE_LENGTH = 52
# Offsets of novel and seen classes within the row of a change, as a share of the row.
_OFFSETS = {"novel": -0.14, "seen": 0.14}


def draw_effects(effects: Sequence[Effect], metric: str) -> Figure | None:
    """Draw one row per change, novel classes above seen ones, in percentage points.

    Args:
        effects: Effects to draw, the first on top.
        metric: `<box source>/<metric>` of the effects.

    Returns:
        The figure; None if no effect is known.
    """
    known = [effect for effect in effects if effect.difference.n]
    if not known:
        return None
    rows = list(dict.fromkeys(map(_row, known)))
    with style.applied():
        figure = style.new_figure(_INCHES_BESIDE + _INCHES_PER_CHANGE * len(rows))
        panel = figure.subplots()
        panel.axvline(0, color=style.INK, linewidth=0.8)
        for place, effect in enumerate(known):
            mean, low, high, *_ = effect.difference
            row = rows.index(_row(effect)) + _OFFSETS[effect.on]
            role_style = style.ROLES[effect.on]
            if low is not None:
                panel.plot([100 * low, 100 * high], [row, row], color=role_style["color"],
                           linewidth=1.6, solid_capstyle="butt", gid=f"interval-{place}")
            panel.plot(100 * mean, row, linestyle="none", markersize=6, gid=f"effect-{place}",
                       label=style.ROLE_TITLES[effect.on], **role_style)
        names = [
            f"{shorten_label(changes, _MAX_CHANGE_LENGTH)}, n {n}" for changes, n in rows]
        style.label_rows(panel, names, max_length=80)
        style.set_x_title(figure, f"change of {metric_title(metric)}, in percentage points")
        handles, labels = panel.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        figure.legend(named.values(), named.keys(), loc="outside upper right", ncols=2)
    return figure


def _row(effect: Effect) -> tuple[str, int]:
    return change_text(effect), effect.difference.n
