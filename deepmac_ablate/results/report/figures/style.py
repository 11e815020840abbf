"""How figures look: one set of colours, markers and sizes for a page and for a paper.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which people with any kind of
colour vision tell apart; nothing is told by colour alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

# Text and axes. On a page it becomes the colour of the text around, light or dark.
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

WIDTH = 6.6  # inches: a column of a page, both columns of a paper
_LONGEST_LABEL = 34

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
    # A dollar in the name of an arm begins no formula.
    "text.parse_math": False,
    "axes.unicode_minus": True,
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Let figures be made and written in this style, whatever the user's settings are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of a size in inches, with room for its labels."""
    return Figure(figsize=(width, height), layout="constrained")


def label(name: str, longest: int = _LONGEST_LABEL) -> str:
    """Return a name as figures show it: in one line, printable, with an ellipsis if it is long."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
    return plain if len(plain) <= longest else f"{plain[:longest - 1]}…"


def of_arm(position: int) -> Mapping[str, Any]:
    """Return colour, marker and line of one of several arms; 36 differ from each other."""
    count = len(_COLOURS)
    shift = position + position // count
    return {
        "color": _COLOURS[position % count],
        "marker": _MARKERS[shift % count],
        "linestyle": _LINES[shift % count],
    }


def rows(panel: Axes, names: list[str], longest: int = _LONGEST_LABEL) -> None:
    """Make the vertical axis a list of names, the first on top, a line to each."""
    panel.set_yticks(range(len(names)), [label(name, longest) for name in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="both")
    panel.spines["left"].set_visible(False)


def x_title(figure: Figure, text: str) -> None:
    """Say below all panels what their horizontal axes show."""
    figure.supxlabel(text, fontsize="medium")


def number_ticks(axis: Axis) -> None:
    """Write the ticks of a linear or logarithmic axis as plain numbers, a few of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
