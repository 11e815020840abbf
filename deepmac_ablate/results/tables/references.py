"""Floors and ceiling of mask IoU in given boxes, as rows of a table beside its arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deepmac_ablate.results.arms import ArmTrials

# Metrics beside `iou`, which the evaluation computes from the same annotations and boxes.
REFERENCES = {
    "iou_filled_box": "floor: filled box",
    "iou_ellipse": "floor: inscribed ellipse",
    "iou_ceiling": "ceiling: annotation",
}


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

