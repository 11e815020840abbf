"""Boundaries of masks and their IoU, computed in the region of each mask (arXiv:2103.16562).

A boundary is the part of a mask within 2 % of the image's diagonal from its contour (at least one
pixel; 16 pixels for 640 x 480), so that for small objects it is the whole mask. Where the border of
the image cuts a mask is contour, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from deepmac_ablate.data.masks import Region, decode_region

# The width of a boundary as a share of the image's diagonal, the default of arXiv:2103.16562.
BOUNDARY_DILATION_RATIO = 0.02


def boundary_region(mask: Mapping[str, Any], dilation_ratio: float) -> Region:
    """Return the boundary of a mask, in the mask's region.

    Args:
        mask: RLE of the size of the image, `counts` as bytes or str.
        dilation_ratio: The width of a boundary as a share of the image's diagonal.
    """
    region = decode_region(mask)
    # Halves are rounded down, whatever the rounding error of the product.
    width = max(1, math.ceil(dilation_ratio * math.hypot(*mask["size"]) - 0.5 - 1e-10))
    if min(region.pixels.shape) <= 2 * width:
        return region
    # Beyond the region is no mask.
    framed = np.zeros(np.add(region.pixels.shape, 2), np.uint8)
    framed[1:-1, 1:-1] = region.pixels
    inside = cv2.erode(framed, np.ones((2 * width + 1, 2 * width + 1), np.uint8))[1:-1, 1:-1]
    return region._replace(pixels=region.pixels & (inside == 0))


def region_iou(one: Region, other: Region) -> float:
    """Return the IoU of the pixels of two regions of an image, 0 if there are none."""
    left, top = max(one.x, other.x), max(one.y, other.y)
    right, bottom = (
        min(one_start + one_length, other_start + other_length)
        for one_start, one_length, other_start, other_length in (
            (one.x, one.pixels.shape[1], other.x, other.pixels.shape[1]),
            (one.y, one.pixels.shape[0], other.y, other.pixels.shape[0])))
    shared = 0
    if left < right and top < bottom:
        ours, theirs = (
            region.pixels[top - region.y : bottom - region.y, left - region.x : right - region.x]
            for region in (one, other))
        shared = int(np.count_nonzero(ours & theirs))
    either = int(np.count_nonzero(one.pixels)) + int(np.count_nonzero(other.pixels)) - shared
    return shared / either if either else 0.0
