"""Checks of single records; each problem is reported in one sentence.

A record is the output of Model Garden's `TfExampleDecoder` for one image, as numpy arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Record = Mapping[str, Any]

# Pixels by which a mask may exceed its box: COCO's boxes are tight around polygons, not pixels.
BOX_MARGIN = 2
# Share of a mask that may lie further out; none of 1480 annotations of COCO has any.
_MAX_OUTSIDE = 0.05
_BOX_TOLERANCE = 1e-6
_SHOWN_PER_KIND = 5


class Problems:
    """Collection of problems by kind, with a limited number of sentences per kind."""

    def __init__(self) -> None:
        self._by_kind: dict[str, list[str]] = {}

    def add(self, kind: str, sentence: str) -> None:
        """Add a sentence."""
        self._by_kind.setdefault(kind, []).append(sentence)

    def sentences(self) -> list[str]:
        """Return the first sentences of each kind, and the number of further ones."""
        shown: list[str] = []
        for kind, sentences in self._by_kind.items():
            shown += sentences[:_SHOWN_PER_KIND]
            if (more := len(sentences) - _SHOWN_PER_KIND) > 0:
                shown.append(f"{more} more like this ({kind}).")
        return shown


def verify_sizes(record: Record, problems: Problems) -> bool:
    """Check that sizes and numbers in a record agree; return whether they do."""
    image_id, size = record["source_id"].decode(), record["image"].shape[:2]
    stated = (int(record["height"]), int(record["width"]))
    if size != stated:
        problems.add("size", f"Image {image_id} is {size} pixels, but its record says {stated}.")
    num_instances = len(record["groundtruth_classes"])
    fields = ("boxes", "is_crowd", "area", "instance_masks")
    numbers = {field: len(record[f"groundtruth_{field}"]) for field in fields}
    uneven = {field: number for field, number in numbers.items() if number != num_instances}
    if uneven:
        problems.add("uneven", f"Image {image_id} has {num_instances} classes, but {uneven}.")
    mask_size = record["groundtruth_instance_masks"].shape[1:]
    if mask_size != size:
        problems.add("size", f"Image {image_id} is {size} pixels, but its masks are {mask_size}.")
    return size == stated and not uneven and mask_size == size


def verify_instances(record: Record, names: Mapping[int, str], problems: Problems) -> None:
    """Add a problem for each instance with an unknown class, a bad box or a bad mask.

    Args:
        record: A record that has passed `verify_sizes`.
        names: Class names by the label in the records.
        problems: Collection to add to.
    """
    height, width = record["image"].shape[:2]
    limits = np.array([height, width, height, width])
    for index, label in enumerate(record["groundtruth_classes"].tolist()):
        name = names.get(label, label)
        where = f"Image {record['source_id'].decode()}, instance {index} ({name})"
        if label not in names:
            problems.add("class", f"{where}: class {label} is not in this dataset.")
        box = record["groundtruth_boxes"][index]
        low, high = -_BOX_TOLERANCE, 1 + _BOX_TOLERANCE
        if not (low <= box[0] < box[2] <= high and low <= box[1] < box[3] <= high):
            pixels = np.round(box * limits, 1).tolist()
            problems.add(
                "box", f"{where}: the box {pixels} is empty or outside {height} x {width} pixels."
            )
            continue
        mask = record["groundtruth_instance_masks"][index]
        if not np.isin(mask, (0, 1)).all():
            problems.add("values", f"{where}: the mask holds {mask.max():g}; it must be 0 or 1.")
        if (outside := _share_outside(mask > 0, box * limits)) > _MAX_OUTSIDE:
            problems.add("outside", f"{where}: {outside:.0%} of the mask lies outside the box.")


def _share_outside(mask: np.ndarray, box: np.ndarray) -> float:
    if not mask.any():
        return 0.0
    top, left = np.maximum(np.floor(box[:2]).astype(int) - BOX_MARGIN, 0)
    bottom, right = np.ceil(box[2:]).astype(int) + BOX_MARGIN
    return float(1 - mask[top:bottom, left:right].sum() / mask.sum())
