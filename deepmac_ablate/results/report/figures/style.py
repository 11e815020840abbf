"""Style of the figures: colours, markers and sizes for pages and papers.

The colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which readers with any
kind of colour vision can distinguish. Nothing is encoded by colour alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from deepmac_ablate.data.label_text import MAX_LENGTH, shorten_label

# Colour of text and axes. On a page, the colour of the surrounding text replaces it.
INK = "#262626"
# Visible on white and on black.
QUIET = "#8c8c8c"

ROLE_TITLES: dict[str, str] = {"novel": "novel classes", "seen": "seen classes"}
ROLES: dict[str, dict[str, Any]] = {
    "novel": {"color": "#d55e00", "marker": "s"},
    "seen": {"color": "#0072b2", "marker": "o"},
}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))

# In inches: a column of a page, or both columns of a paper.
WIDTH = 6.6

_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": QUIET,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    # A dollar sign in the name of an arm does not start a formula.
    "text.parse_math": False,
    "axes.unicode_minus": True,
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Apply this style within a context, regardless of the user's settings."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of a size in inches, with a layout that makes room for labels."""
    return Figure(figsize=(width, height), layout="constrained")


def arm_style(position: int) -> Mapping[str, Any]:
    """Return colour, marker and line style of an arm; the first 36 positions all differ."""
    count = len(_COLOURS)
    shift = position + position // count
    return {
        "color": _COLOURS[position % count],
        "marker": _MARKERS[shift % count],
        "linestyle": _LINES[shift % count],
    }


def label_rows(panel: Axes, names: list[str], max_length: int = MAX_LENGTH) -> None:
    """Label the rows of a panel, the first on top."""
    panel.set_yticks(range(len(names)), [shorten_label(name, max_length) for name in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="both")
    panel.spines["left"].set_visible(False)


def set_x_title(figure: Figure, text: str) -> None:
    """Set the title below the horizontal axes of all panels."""
    figure.supxlabel(text, fontsize="medium")


def format_ticks(axis: Axis) -> None:
    """Show a few ticks on a linear or logarithmic axis, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
