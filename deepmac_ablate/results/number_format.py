"""How numbers and metrics are written for people: in percent, with one digit after the point."""

from __future__ import annotations

import math

from deepmac_ablate.results.statistics import Difference, Interval

NOTHING = "-"

_METRICS = {
    "iou": "mask IoU", "boundary_iou": "boundary IoU", "mask_ap": "mask AP", "box_ap": "box AP"}
_READINGS = {"groundtruth": "in ground-truth boxes", "detections": "in detected boxes"}


def metric_title(metric: str) -> str:
    """Return what a metric `<reading>/<metric>` is called: "mask IoU in ground-truth boxes"."""
    reading, _, name = metric.partition("/")
    return f"{_METRICS.get(name, name)} {_READINGS.get(reading, f'in boxes {reading}')}"


def percent(share: float | None) -> str:
    """Return "57.7" for 0.577."""
    return NOTHING if share is None or math.isnan(share) else f"{100 * share:.1f}"


def interval(value: Interval, n: int | None = None) -> str:
    """Return "57.7 ± 1.2", with "(n 2)" behind it where there are other than `n` seeds."""
    return _with_half(percent(value.mean), value, n)


def difference(value: Difference, n: int | None = None) -> str:
    """Return "+1.2 ± 0.4", with "(n 2)" behind it where there are other than `n` seeds."""
    sign = "" if math.isnan(value.mean) else "+" if value.mean >= 0 else "-"
    return _with_half(sign + percent(abs(value.mean)), value, n)


def p_value(p: float | None) -> str:
    """Return three digits after the point, which is as much as a few seeds can tell."""
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def duration(seconds: float | None) -> str:
    """Return "42 s", "12.3 min" or "5.1 h"."""
    if seconds is None:
        return NOTHING
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _with_half(mean: str, value: Interval | Difference, n: int | None) -> str:
    half = "" if value.low is None else f" ± {100 * (value.high - value.low) / 2:.1f}"
    return mean + half + (f" (n {value.n})" if n is not None and value.n not in (0, n) else "")
