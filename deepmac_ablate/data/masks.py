"""Conversion between COCO segmentations and binary masks.

COCO encodes a mask as polygons, as run lengths or as run lengths packed into a string. Polygons are
drawn by pycocotools, so that records and evaluation agree on every pixel. Run lengths are decoded
by this module, because pycocotools reads past the end of ones that are too short.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from PIL import Image

# Three corners; fewer enclose nothing.
_MIN_POLYGON_NUMBERS = 6
_ZLIB_RUN_LENGTHS = 3


class MaskError(ValueError):
    """Error for a malformed segmentation; the caller adds which annotation it belongs to."""


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray:  # noqa: ANN401 - JSON
    """Return the mask of a COCO segmentation.

    Args:
        segmentation: Polygons ``[[x0, y0, x1, y1, ...], ...]`` in pixels, or a dict with `size`
            ``[height, width]`` and `counts`, run lengths in column-major order as a list or packed
            into a string (https://github.com/cocodataset/cocoapi, common/maskApi.h).
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        [height, width] uint8, 0 or 1; all zero if the polygons enclose no pixel.

    Raises:
        MaskError: If the segmentation is malformed or was made for another image size.
    """
    if isinstance(segmentation, dict):
        return _decode_runs(segmentation, height, width)
    if isinstance(segmentation, list):
        return _decode_polygons(segmentation, height, width)
    raise MaskError(f"it must be a list or a dict, not {type(segmentation).__name__}")


def enclosing_polygons(polygons: list[list[float]]) -> list[list[float]]:
    """Return the polygons with at least three corners; pycocotools fails on the others."""
    return [polygon for polygon in polygons if len(polygon) >= _MIN_POLYGON_NUMBERS]


def encode_png(mask: np.ndarray) -> bytes:
    """Return a [height, width] uint8 mask of 0 and 1 as a PNG file of the same values."""
    buffer = io.BytesIO()
    # The run-length strategy suits masks: half the time of zlib's default, and 10 % smaller.
    Image.fromarray(mask).save(buffer, format="PNG", compress_type=_ZLIB_RUN_LENGTHS)
    return buffer.getvalue()


def encode_runs(mask: np.ndarray) -> dict[str, Any]:
    """Return a [height, width] mask of 0 and 1 as a COCO segmentation of packed run lengths."""
    packed = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(packed["size"]), "counts": packed["counts"].decode("ascii")}


def _decode_polygons(polygons: list[Any], height: int, width: int) -> np.ndarray:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise MaskError("a polygon must be a list of x, y pairs")
        if not all(isinstance(number, int | float) for number in polygon):
            raise MaskError("a polygon holds a value that is not a number")
    if not (enclosing := enclosing_polygons(polygons)):
        return np.zeros((height, width), np.uint8)
    return mask_util.decode(mask_util.merge(mask_util.frPyObjects(enclosing, height, width)))


def _decode_runs(segmentation: dict[str, Any], height: int, width: int) -> np.ndarray:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise MaskError(
            f"its size is {size}, but the image's [height, width] is {[height, width]}")
    if isinstance(counts, str):
        counts = _unpack(counts)
    if not isinstance(counts, list) or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise MaskError("its counts are not run lengths")
    if sum(counts) != height * width:
        raise MaskError(f"its run lengths cover {sum(counts)} of {height * width} pixels")
    # Runs alternate between outside and inside, starting outside.
    values = np.arange(len(counts), dtype=np.uint8) % 2
    return np.repeat(values, counts).reshape((height, width), order="F")


def _unpack(packed: str) -> list[int]:
    # Each number is a chain of characters of 5 bits each, least significant first. Bit 6 means that
    # more characters follow; bit 5 of the last one is the sign. From the fourth number on, each is
    # the difference from the number two before.
    numbers: list[int] = []
    codes = [ord(character) - 48 for character in packed]
    if not codes or not all(0 <= code < 64 for code in codes) or codes[-1] & 32:
        raise MaskError("its counts are not packed run lengths")
    number = shift = 0
    for code in codes:
        number |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            number -= 1 << shift
        numbers.append(number + numbers[-2] if len(numbers) > 2 else number)
        number = shift = 0
    return numbers
