"""Conversion between COCO segmentations and binary masks.

COCO encodes a mask as polygons, as run lengths or as run lengths packed into a string. Polygons are
drawn by pycocotools, so that records and evaluation agree on every pixel. Run lengths are decoded
by this module, because pycocotools reads past the end of ones that are too short.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
import pycocotools.mask as mask_util

from deepmac_ablate.errors import shorten

# Three corners; fewer enclose nothing.
_MIN_POLYGON_NUMBERS = 6
# An image may be a crop of a larger one, with corners far outside. pycocotools takes memory for
# each fifth of a pixel of an outline, and ends the process where there is not enough.
MAX_DISTANCE = 100_000
_MAX_OUTLINE = 10_000_000
# Longer numbers than the pixels of any image, which would not fit into 64 bits.
_MAX_SHIFT = 50


class Region(NamedTuple):
    """A rectangle of a mask outside which there is nothing.

    Attributes:
        pixels: Pixels inside the rectangle, [h, w] bool.
        x: Column of the image where the rectangle begins.
        y: Row of the image where it begins.
    """

    pixels: np.ndarray
    x: int
    y: int


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
    if not isinstance(segmentation, dict | list):
        raise MaskError(f"it must be a list or a dict, not {type(segmentation).__name__}")
    decode = _decode_runs if isinstance(segmentation, dict) else _decode_polygons
    # Drawn column by column, but read row by row from now on, which is slow without this copy.
    return cv2.transpose(decode(segmentation, height, width).T)


def count_pixels(segmentation: Any, height: int, width: int) -> int:  # noqa: ANN401 - JSON
    """Return the number of pixels of a mask, without drawing it; see `decode_segmentation`."""
    if isinstance(segmentation, dict):
        return sum(_run_lengths(segmentation, height, width)[1::2])
    drawn = _draw(segmentation, height, width)
    return 0 if drawn is None else int(mask_util.area(drawn))


def enclosing_polygons(polygons: list[list[float]]) -> list[list[float]]:
    """Return the polygons with at least three corners; pycocotools fails on the others."""
    return [polygon for polygon in polygons if len(polygon) >= _MIN_POLYGON_NUMBERS]


def check_polygon(polygon: list[float], height: int, width: int) -> None:
    """Check that pycocotools can draw a polygon.

    Args:
        polygon: Corners as [x0, y0, x1, y1, ...] in pixels.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        MaskError: If it is not a list of pairs of finite numbers, or too far outside the image.
    """
    if not isinstance(polygon, list) or len(polygon) % 2:
        raise MaskError("a polygon must be a list of x, y pairs")
    if not set(map(type, polygon)) <= {int, float}:
        wrong = next(number for number in polygon if type(number) not in (int, float))
        raise MaskError(f"a polygon holds {shorten(wrong)}, which is not a number")
    if not polygon:
        return
    limit = max(height, width) + MAX_DISTANCE
    low, high = min(polygon), max(polygon)
    # NaN is smaller than nothing, but makes the sum NaN.
    if not (low >= -MAX_DISTANCE and high <= limit and sum(polygon) <= limit * len(polygon)):
        wrong = next(n for n in polygon if not -MAX_DISTANCE <= n <= limit)
        raise MaskError(
            f"a polygon has a corner at {shorten(wrong)}, but corners must be at most "
            f"{MAX_DISTANCE} pixels outside the image of {width} x {height}")
    if len(polygon) * (high - low) > _MAX_OUTLINE:
        corners = np.reshape(polygon, (-1, 2))
        if np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum() > _MAX_OUTLINE:
            raise MaskError(f"the outline of a polygon is longer than {_MAX_OUTLINE} pixels")


def encode_png(mask: np.ndarray) -> bytes:
    """Return a [height, width] uint8 mask of 0 and 1 as a PNG file of the same values."""
    # Of all settings this is the fastest for masks, and nearly the smallest.
    _, png = cv2.imencode(".png", mask, [
        cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
        cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE])
    return png.tobytes()


def encode_runs(mask: np.ndarray) -> dict[str, Any]:
    """Return a [height, width] mask of 0 and 1 as a COCO segmentation of packed run lengths."""
    packed = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(packed["size"]), "counts": packed["counts"].decode("ascii")}


def encode_region(region: Region, height: int, width: int) -> dict[str, Any]:
    """Return the COCO segmentation of an image of which only a region is known, like `encode_runs`.

    Args:
        region: Part of the image that holds all of the mask; it may be empty.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    rows, columns = region.pixels.shape
    # A row of zeros ends the runs of a column, unless they may continue in the next one.
    step = rows + (rows < height)
    flat = np.zeros(columns * step + 2, np.uint8)
    if region.pixels.size:
        by_column = flat[1:-1].reshape(columns, step)[:, :rows]
        cv2.transpose(region.pixels.view(np.uint8), dst=by_column)
    edges = (flat[1:] != flat[:-1]).nonzero()[0]
    bounds = np.empty(len(edges) + 2, np.int64)
    bounds[0], bounds[-1] = 0, height * width
    bounds[1:-1] = edges // step * (height - step) + edges + (region.x * height + region.y)
    runs = bounds[1:] - bounds[:-1]
    if len(edges) and not runs[-1]:
        runs = runs[:-1]
    packed = mask_util.frPyObjects(
        [{"size": (height, width), "counts": runs}], height, width)[0]
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def decode_region(segmentation: Mapping[str, Any]) -> Region:
    """Return the smallest region that holds all of a mask, given as packed run lengths.

    Args:
        segmentation: Valid `size` and `counts`, as bytes or text.
    """
    height, _ = segmentation["size"]
    runs = _unpack(segmentation["counts"])
    ends = runs.cumsum()
    inside = np.flatnonzero(runs[1::2]) * 2 + 1
    if not len(inside):
        return Region(np.zeros((0, 0), bool), 0, 0)
    starts, lasts = ends[inside - 1], ends[inside] - 1
    left, right = starts[0] // height, lasts[-1] // height
    runs, values = runs[: inside[-1] + 1], np.arange(inside[-1] + 2) % 2 == 1
    runs[0] -= left * height
    runs = np.append(runs, (right + 1) * height - 1 - lasts[-1])
    strip = np.repeat(values, runs).reshape(-1, height)
    rows = np.flatnonzero(strip.any(axis=0))
    return Region(strip[:, rows[0] : rows[-1] + 1].T, int(left), int(rows[0]))


def _decode_polygons(polygons: list[Any], height: int, width: int) -> np.ndarray:
    drawn = _draw(polygons, height, width)
    return np.zeros((height, width), np.uint8) if drawn is None else mask_util.decode(drawn)


def _draw(polygons: list[Any], height: int, width: int) -> dict[str, Any] | None:
    """Return polygons as packed run lengths of pycocotools, or None if there is none to draw."""
    for polygon in polygons:
        check_polygon(polygon, height, width)
    if not (enclosing := enclosing_polygons(polygons)):
        return None
    return mask_util.merge(mask_util.frPyObjects(enclosing, height, width))


def _decode_runs(segmentation: dict[str, Any], height: int, width: int) -> np.ndarray:
    runs = _run_lengths(segmentation, height, width)
    # Runs alternate between outside and inside, starting outside.
    values = np.arange(len(runs), dtype=np.uint8) % 2
    return np.repeat(values, runs).reshape((height, width), order="F")


def _run_lengths(segmentation: dict[str, Any], height: int, width: int) -> list[int]:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width] or not _are_integers(size):
        raise MaskError(
            f"its size is {shorten(size)}, but the image's [height, width] is {[height, width]}")
    if isinstance(counts, str):
        if counts.startswith(("b'", 'b"')):
            raise MaskError(
                "its counts are the text of a Python bytes object; write counts.decode('ascii')")
        counts = _unpack(counts).tolist()
    if not isinstance(counts, list) or not _are_integers(counts) or min(counts, default=0) < 0:
        raise MaskError("its counts are not run lengths")
    if sum(counts) != height * width:
        raise MaskError(f"its run lengths cover {shorten(sum(counts))} of {height * width} pixels")
    return counts


def _are_integers(values: list[Any]) -> bool:
    return set(map(type, values)) <= {int}


def _unpack(packed: str | bytes) -> np.ndarray:
    # Each number is a chain of characters of 5 bits each, least significant first. Bit 6 means that
    # more characters follow; bit 5 of the last one is the sign. From the fourth number on, each is
    # the difference from the number two before.
    text = packed.encode() if isinstance(packed, str) else packed
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() >= 64 or codes[-1] & 32:
        raise MaskError("its counts are not packed run lengths")
    last = np.flatnonzero(codes < 32)
    first = np.append(0, last[:-1] + 1)
    shifts = 5 * (np.arange(len(codes)) - np.repeat(first, last - first + 1))
    if shifts.max() > _MAX_SHIFT:
        raise MaskError("its counts are not packed run lengths")
    numbers = np.add.reduceat((codes & 31) << shifts, first)
    numbers -= (codes[last] & 16) << (shifts[last] + 1)
    for start in (1, 2):
        numbers[start::2] = numbers[start::2].cumsum()
    return numbers
