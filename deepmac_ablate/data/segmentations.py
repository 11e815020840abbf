"""Segmentations as annotation tools write them, read as polygons or run lengths of COCO.

Other notations are read where they can mean only one thing, and refused otherwise: a mask that is
not understood must not become an object without a mask.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from deepmac_ablate.data import masks
from deepmac_ablate.data.masks import MaskError
from deepmac_ablate.errors import shorten

NO_SEGMENTATION = "segmentation missing"
TOO_FEW_CORNERS = "polygons of fewer than three corners (a rectangle needs four)"
_FLAT = "segmentations that are a single list of numbers, read as a polygon"
_PAIRS = "segmentations of [x, y] pairs, read as polygons"
_NESTED = "segmentations nested too deeply, read as polygons"
_DROPPED = "segmentations with polygons of fewer than three corners, left out beside others"
_COCO = "COCO's is [[x0, y0, x1, y1, ...], ...] in pixels, or {'size': ..., 'counts': ...}"

_MAX_DEPTH = 4


class Segmentation(NamedTuple):
    """Segmentation in COCO's notation.

    Attributes:
        value: Polygons, or a dict of run lengths; None if there is no mask.
        reason: `NO_SEGMENTATION` or `TOO_FEW_CORNERS` if there is no mask.
        note: Description of what was read in another way than written, if anything.
    """

    value: Any
    reason: str = ""
    note: str = ""


def read_segmentation(value: Any, height: int, width: int) -> Segmentation:  # noqa: ANN401 - JSON
    """Return a segmentation in COCO's notation, with numbers that pycocotools can take.

    Args:
        value: Content of the field; None if it is missing.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        MaskError: If it is neither empty nor understood.
    """
    if value in (None, "", [], {}):
        return Segmentation(None, NO_SEGMENTATION)
    if isinstance(value, dict):
        if not {"size", "counts"} <= value.keys():
            raise MaskError(f"it is an object of {', '.join(map(shorten, value))}; {_COCO}")
        # Refuses what is malformed.
        masks.count_pixels(value, height, width)
        return Segmentation(value)
    if not isinstance(value, list):
        raise MaskError(f"it must be a list or an object, not {shorten(value)}; {_COCO}")
    polygons, note = _polygons(value)
    kept = masks.enclosing_polygons(polygons)
    for polygon in kept:
        masks.check_polygon(polygon, height, width)
    if not kept:
        return Segmentation(None, TOO_FEW_CORNERS if any(polygons) else NO_SEGMENTATION)
    return Segmentation(kept, note=note or (_DROPPED if len(kept) < len(polygons) else ""))


def is_relative(polygons: list[list[float]]) -> bool:
    """Return whether all corners lie between 0 and 1, as if relative to the image's size."""
    return all(min(polygon) >= 0 and max(polygon) <= 1 for polygon in polygons)


def _polygons(parts: list[Any], depth: int = 0) -> tuple[list[list[Any]], str]:
    """Return the polygons of a list, and the notation if it is not COCO's."""
    if depth > _MAX_DEPTH:
        raise MaskError(f"its lists are nested too deeply; {_COCO}")
    if not any(isinstance(part, list | dict) for part in parts):
        return [parts], _FLAT
    if not all(isinstance(part, list) for part in parts):
        wrong = next(part for part in parts if not isinstance(part, list))
        raise MaskError(f"it holds {shorten(wrong)}; {_COCO}")
    if not any(part and isinstance(part[0], list) for part in parts):
        if len(parts) > 2 and all(len(part) == 2 for part in parts):
            return [[number for part in parts for number in part]], _PAIRS
        return parts, ""
    if all(len(part) == 1 for part in parts):
        # Contours of OpenCV: each point is a list in a list of its own.
        return _polygons([part[0] for part in parts], depth + 1)[0], _NESTED
    inner = [_polygons(part, depth + 1) for part in parts if part]
    pairs = all(note == _PAIRS for _, note in inner)
    return [polygon for found, _ in inner for polygon in found], _PAIRS if pairs else _NESTED
