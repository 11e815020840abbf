"""Floors and ceiling of mask IoU in given boxes, as rows of a table beside its arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.number_format import percent
from deepmac_ablate.results.statistics import Interval

# Metrics beside `iou`, which the evaluation computes from the same annotations and boxes.
REFERENCES = {
    "iou_filled_box": "floor: filled box",
    "iou_ellipse": "floor: inscribed ellipse",
    "iou_ceiling": "ceiling: annotation",
}


# Follows a mask IoU that is not above its floor, and the name of its arm in a figure.
FLOOR_MARK = " #"


class Reference(NamedTuple):
    """Mask IoU that needs no training, or that no training can exceed.

    Attributes:
        metric: A key of `REFERENCES`.
        arms: Labels of the arms that it holds for: those with the same classes, boxes, images and,
            for the ceiling, size of masks.
        novel: Mean over the novel classes, in [0, 1]; None if there are none.
        seen: Mean over the seen classes.
    """

    metric: str
    arms: tuple[str, ...]
    novel: float | None
    seen: float | None

    @property
    def gap(self) -> float | None:
        """Seen minus novel; None if either is unknown."""
        return None if self.novel is None or self.seen is None else self.seen - self.novel


def find_references(arms: Sequence[ArmTrials], metric: str) -> tuple[Reference, ...]:
    """Return the references of a metric, floors first; none unless it is mask IoU in given boxes.

    Args:
        arms: The arms of a table.
        metric: The metric as `<box source>/<metric>`.
    """
    source, _, name = metric.partition("/")
    if name != "iou":
        return ()
    found: dict[tuple[str, float | None, float | None], dict[str, None]] = {}
    for reference in REFERENCES:
        for arm in arms:
            for trial in arm.finished:
                novel, seen = (
                    trial.get(f"{source}/{reference}/{classes}") for classes in ("novel", "seen"))
                if novel is not None or seen is not None:
                    found.setdefault((reference, novel, seen), {})[arm.label] = None
    return tuple(
        Reference(reference, tuple(labels), novel, seen)
        for (reference, novel, seen), labels in found.items())


def reference_note(trial: Mapping[str, Any], metric: str) -> str:
    """Return a sentence about floors and ceiling of a metric; empty if it has none.

    Args:
        trial: A finished trial, as a row of the data frame.
        metric: The metric as `<box source>/<metric>`.
    """
    source, _, name = metric.partition("/")
    if name != "iou":
        return ""
    parts = []
    for reference, title in REFERENCES.items():
        values = {
            on: value for on in ("novel", "seen")
            if (value := trial.get(f"{source}/{reference}/{on}")) is not None}
        if values:
            shown = ", ".join(f"{on} {percent(value)}" for on, value in values.items())
            parts.append(f"{title.partition(': ')[2]} {shown}")
    return f"Floors and ceiling: {'; '.join(parts)}." if parts else ""


def is_at_floor(
    value: Interval, references: Sequence[Reference], arm: str, classes: str
) -> bool | None:
    """Return whether an arm is not above the higher of its floors.

    Args:
        value: The arm's mask IoU; its interval, or without one its mean, must lie above the floor.
        references: The references of the metric, from `find_references`.
        arm: The label of the arm.
        classes: "novel" or "seen".

    Returns:
        None if the arm has no floor or no result.
    """
    floors = [
        floor for each in references
        if REFERENCES[each.metric].startswith("floor") and arm in each.arms
        and (floor := getattr(each, classes)) is not None]
    if not floors or not value.n:
        return None
    return (value.mean if value.low is None else value.low) <= max(floors)
