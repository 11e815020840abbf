"""Masks pasted into their images: thresholded in their boxes, encoded for the whole image.

The pixels are those of Model Garden's `mask_ops.paste_instance_masks`, but only those inside a box
are computed.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from deepmac_ablate.data.masks import Region, encode_region


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int
) -> list[dict[str, Any]]:
    """Return the masks of an image as RLE of the size of the image, `counts` as text.

    Args:
        masks: Probabilities in each box, [n, h, w] float32.
        boxes: Boxes, [n, 4] float64 as x, y, width, height in pixels of the image; they may reach
            beyond it.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    if not len(masks):
        return []
    rows, columns = masks.shape[1:]
    # A frame of zeros, by which the boxes grow, keeps OpenCV from repeating the outermost cells.
    framed = np.pad(masks, ((0, 0), (1, 1), (1, 1))).astype(np.float32, copy=False)
    half = boxes[:, 2:] * 0.5
    center = boxes[:, :2] + half
    half = half * max((columns + 2) / columns, (rows + 2) / rows)
    low, high = (center - half).astype(np.int32), (center + half).astype(np.int32) + 1
    sizes = np.maximum(high - low, 1).tolist()
    starts, ends = (np.clip(corner, 0, (width, height)) for corner in (low, high))
    windows = np.concatenate([starts, starts - low, ends - low], axis=1).tolist()
    encoded = []
    for mask, size, (x, y, left, top, right, bottom) in zip(framed, sizes, windows, strict=True):
        pixels = cv2.resize(mask, size)[top:bottom, left:right] > 0.5
        encoded.append(encode_region(Region(pixels, x, y), height, width))
    return encoded
