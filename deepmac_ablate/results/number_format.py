"""Numbers and metrics as shown to people: in percent, with one decimal."""

from __future__ import annotations

import math

from deepmac_ablate.launch.durations import duration_text
from deepmac_ablate.results.statistics import Difference, Interval

NOTHING = "-"

ONE_SEED_NOTE = "One seed per arm: differences may be noise."

_METRICS = {
    "iou": "mask IoU", "boundary_iou": "boundary IoU", "mask_ap": "mask AP", "box_ap": "box AP"}
_BOX_SOURCES = {"groundtruth": "in ground-truth boxes", "detections": "in detected boxes"}


def metric_title(metric: str) -> str:
    """Return the title of `<box source>/<metric>`, such as "mask IoU in ground-truth boxes"."""
    box_source, _, name = metric.partition("/")
    boxes = _BOX_SOURCES.get(box_source, f"in boxes {box_source}")
    return f"{_METRICS.get(name, name)} {boxes}"


def percent(share: float | None) -> str:
    """Return "57.7" for 0.577."""
    return NOTHING if share is None or math.isnan(share) else f"{100 * share:.1f}"


def signed(share: float) -> str:
    """Return "+1.2" for 0.012, and "+0.0" for whatever rounds to 0."""
    return NOTHING if math.isnan(share) else f"{100 * share:+z.1f}"


def percent_with_sign(share: float) -> str:
    """Return "95 %" for 0.95, and "97.5 %" for 0.975."""
    return f"{100 * share:g} %"


def interval(value: Interval, n: int | None = None) -> str:
    """Return "57.7 ± 1.2", followed by "(n 2)" if it is over another number of seeds than `n`."""
    return _with_half_width(percent(value.mean), value, n)


def difference(value: Difference, n: int | None = None) -> str:
    """Return "+1.2 ± 0.4", followed by "(n 2)" if it is over another number of seeds than `n`."""
    return _with_half_width(signed(value.mean), value, n)


def limits(low: float, high: float) -> str:
    """Return the limits of a difference, such as "-0.3 to +1.2"."""
    return f"{signed(low)} to {signed(high)}"


def interval_note(confidence: float) -> str:
    """Return the note below tables with intervals over seeds."""
    return (
        f"±: {percent_with_sign(confidence)} t interval over seeds; it covers the randomness of "
        "training, not the choice of images or classes.")


def p_value(p: float | None) -> str:
    """Return a p value with three decimals, or "<0.001"."""
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def duration(seconds: float | None) -> str:
    """Return a duration as `duration_text` does."""
    return NOTHING if seconds is None else duration_text(seconds)


def _with_half_width(mean: str, value: Interval | Difference, n: int | None) -> str:
    half = "" if value.low is None else f" ± {100 * (value.high - value.low) / 2:.1f}"
    return mean + half + (f" (n {value.n})" if n is not None and value.n not in (0, n) else "")
