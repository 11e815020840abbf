"""Floors and ceiling of masks in given boxes: what needs no training, and what none can exceed.

Floors are the filled box and the ellipse inscribed in it; a mask head that scores no more has
learned no shape. The ceiling is the annotation itself at the resolution of the predicted masks,
pasted into the image as those are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
from faster_coco_eval import mask as rle

from deepmac_ablate.data.masks import Region, decode_region
from deepmac_ablate.evaluation.mask_pasting import paste_masks
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.mask_iou import REFERENCES


def reference_ious(
    ground_truth: GroundTruth, boxes: Mapping[int, Sequence[float]], mask_size: int
) -> pd.DataFrame:
    """Return the IoU of reference masks with the annotated mask of every object that has one.

    Args:
        ground_truth: The annotations of the evaluated images.
        boxes: The boxes [x, y, w, h] in which masks are predicted, by annotation id.
        mask_size: Side of a predicted mask, in cells.

    Returns:
        One row per annotated mask, in the annotations' order: `iou_filled_box`, `iou_ellipse` and
        `iou_ceiling` in [0, 1].
    """
    rows = []
    for annotation in ground_truth.objects:
        if annotation.has_mask:
            height, width = ground_truth.image_sizes[annotation.image_id]
            box = np.asarray(boxes[annotation.id], np.float64)
            region = decode_region(annotation.region)
            sampled = _sample_in_box(region, box, mask_size)
            [pasted] = paste_masks(sampled[np.newaxis], box[np.newaxis], height, width)
            ceiling = rle.iou([pasted], [annotation.region], [0])[0, 0]
            rows.append((*_floor_ious(region, box, height, width), float(ceiling)))
    return pd.DataFrame(rows, columns=list(REFERENCES))


def _floor_ious(
    region: Region, box: np.ndarray, height: int, width: int
) -> tuple[float, float]:
    """Return the IoU of the filled box, and of the ellipse in it, with a mask.

    A pixel belongs to a shape if its centre does.
    """
    x, y, box_width, box_height = box
    columns = np.arange(max(0, int(x)), min(width, int(np.ceil(x + box_width))))
    rows = np.arange(max(0, int(y)), min(height, int(np.ceil(y + box_height))))
    # From -1 to 1 inside the box.
    right = (columns + 0.5 - x) / box_width * 2.0 - 1.0
    down = ((rows + 0.5 - y) / box_height * 2.0 - 1.0)[:, np.newaxis]
    mask = np.zeros((len(rows), len(columns)), bool)
    if mask.size:
        _copy_overlap(region, mask, int(columns[0]), int(rows[0]))
    area = int(region.pixels.sum())
    ious = []
    for shape in (np.maximum(abs(down), abs(right)) < 1.0, down**2 + right**2 < 1.0):
        common = int((mask & shape).sum())
        ious.append(common / max(area + int(shape.sum()) - common, 1))
    return ious[0], ious[1]


def _copy_overlap(region: Region, target: np.ndarray, x: int, y: int) -> None:
    """Copy a region into a window of the image whose upper left pixel is (x, y)."""
    height, width = region.pixels.shape
    top, bottom = max(region.y, y), min(region.y + height, y + target.shape[0])
    left, right = max(region.x, x), min(region.x + width, x + target.shape[1])
    if top < bottom and left < right:
        target[top - y : bottom - y, left - x : right - x] = region.pixels[
            top - region.y : bottom - region.y, left - region.x : right - region.x]


def _sample_in_box(region: Region, box: np.ndarray, size: int) -> np.ndarray:
    """Return a mask at the centres of the cells of a box, [size, size] float32 in [0, 1]."""
    x, y, width, height = box
    centers = (np.arange(size) + 0.5) / size
    # The centre of a pixel has the coordinate 0.5 in a box, 0 in OpenCV.
    columns = (x + centers * width - 0.5 - region.x).astype(np.float32)
    rows = (y + centers * height - 0.5 - region.y).astype(np.float32)
    return cv2.remap(
        region.pixels.astype(np.float32), *np.meshgrid(columns, rows), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=0)
