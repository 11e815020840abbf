"""Style of the figures: colours, markers, lines and sizes for pages and papers.

Each sign has one meaning in all figures, and `KEY` names them for readers. An arm has a colour,
marker and line of its own, the same in all figures of a page, which no other sign has. Nothing is
encoded by colour alone.

The colours of novel and seen classes are those of Okabe and Ito (https://jfly.uni-koeln.de/color/);
all colours have a contrast of about 3 : 1 or more with light and with dark pages. Pictures of masks
have the colours of `drawing.OUTCOMES`, which no figure has.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from deepmac_ablate.data.label_text import MAX_LENGTH, shorten_label

# Colour of text and axes. On a page, the colour of the surrounding text replaces it.
INK = "#262626"
# Colour of everything that is not measured on an arm. Visible on white and on black.
QUIET = "#8c8c8c"

ROLE_TITLES: dict[str, str] = {"novel": "novel classes", "seen": "seen classes"}
ROLES: dict[str, dict[str, Any]] = {
    "novel": {"color": "#d55e00", "marker": "s"},
    "seen": {"color": "#0072b2", "marker": "o"},
}
MEAN: dict[str, Any] = {"linestyle": "none", "markersize": 6}
INTERVAL: dict[str, Any] = {"linewidth": 1.6, "solid_capstyle": "butt"}
SEED: dict[str, Any] = {
    "marker": "x", "linestyle": "none", "markersize": 4.5, "markeredgewidth": 1.0}
BASELINE: dict[str, Any] = {"color": QUIET, "linestyle": (0, (4, 3)), "linewidth": 1.0, "zorder": 0}
# By the name of the metric, see `references`.
REFERENCES: dict[str, dict[str, Any]] = {
    "iou_filled_box": {"color": QUIET, "linestyle": (0, (1, 1.2)), "linewidth": 1.2, "zorder": 0},
    "iou_ellipse": {"color": QUIET, "linestyle": (0, (1, 3)), "linewidth": 1.2, "zorder": 0},
    "iou_ceiling": {
        "color": QUIET, "linestyle": (0, (6, 2, 1, 2)), "linewidth": 1.0, "zorder": 0},
}
KEY: tuple[tuple[str, dict[str, Any]], ...] = (
    *((ROLE_TITLES[role], MEAN | style) for role, style in ROLES.items()),
    ("one seed", SEED | {"color": QUIET}),
    ("interval over seeds", INTERVAL | {"color": QUIET}),
    ("baseline", BASELINE),
    ("floor: filled box", REFERENCES["iou_filled_box"]),
    ("floor: inscribed ellipse", REFERENCES["iou_ellipse"]),
    ("ceiling: annotation", REFERENCES["iou_ceiling"]),
)
_ARM_COLOURS = ("#009e73", "#b8419a", "#8f8600", "#7459d6", "#9c5a36", "#1aa3b0")
_ARM_MARKERS = ("^", "D", "v", "P", "p", "X")
_ARM_LINES = ("-", (0, (5, 1.5)), (0, (7, 2, 2, 2)), (0, (5, 1, 1, 1, 1, 1)), (0, (9, 3)),
              (0, (3, 1, 3, 1, 1, 1)))

# Least length of an axis in percent or points, so that small differences do not look large.
MIN_SPAN = 20.0
# The ends of such an axis are multiples of this.
_AXIS_STEP = 5.0

_SIGN_INCHES = (0.4, 0.15)
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


def arm_styles(arms: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and line style by arm; those of the first 36 arms all differ."""
    count = len(_ARM_COLOURS)
    styles = {}
    for place, arm in enumerate(dict.fromkeys(arms)):
        shifted = (place + place // count) % count
        styles[arm] = {
            "color": _ARM_COLOURS[place % count], "marker": _ARM_MARKERS[shifted],
            "linestyle": _ARM_LINES[shifted]}
    return styles


def draw_sign(signs: Mapping[str, Any]) -> Figure:
    """Draw a sign of `KEY` alone: a marker, or a line from left to right."""
    with applied():
        figure = Figure(figsize=_SIGN_INCHES)
        panel = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        panel.set(xlim=(0, 1), ylim=(0, 1))
        panel.axis("off")
        panel.plot(*(([0.5], [0.5]) if "marker" in signs else ([0, 1], [0.5, 0.5])), **signs)
    return figure


def axis_limits(
    values: Iterable[float], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float]:
    """Return the ends of an axis that holds all values and is at least `MIN_SPAN` long.

    Args:
        values: At least one number, in percent or percentage points.
        bounds: Ends that the axis exceeds only if a value does.
    """
    step = _AXIS_STEP
    values = list(values)
    least, most = min(values), max(values)
    lowest = min(bounds[0], step * math.floor(least / step))
    highest = max(bounds[1], step * math.ceil(most / step))
    margin = 0.03 * max(most - least, MIN_SPAN)
    low = max(lowest, step * math.floor((least - margin) / step))
    high = min(highest, step * math.ceil((most + margin) / step))
    if high - low < MIN_SPAN:
        low = step * math.floor((low + high - MIN_SPAN) / 2 / step)
        low = max(lowest, min(low, highest - MIN_SPAN))
        high = max(low + MIN_SPAN, high)
    return low, high


def name_range(unit: str, limits: tuple[float, float]) -> str:
    """Return the unit of an axis and its ends, such as "in % (axis from 50 to 100)"."""
    return f"in {unit} (axis from {limits[0]:g} to {limits[1]:g})"


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
