"""Image crops around annotated objects, with a mask and its box drawn in."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deepmac_ablate.data import drawing, masks

# Side of a crop in pixels: twice what pages show at first, and enough to enlarge it.
SIDE = 400
_LINE_WIDTH = 3
# Margin around the box, as a share of its longer side.
_MARGIN = 0.35
_MIN_WINDOW = 24.0
_GREY = 122
_QUALITY = 72


class Window(NamedTuple):
    """Square region of an image, in pixels; it may extend beyond the image."""

    left: int
    top: int
    side: int


def window_around(box: Sequence[float], height: int, width: int) -> Window:
    """Return a square around a box with some margin, inside the image where it fits.

    Args:
        box: [x, y, width, height] in pixels.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    side = math.ceil(max(_MIN_WINDOW, (1 + 2 * _MARGIN) * max(box[2], box[3])))
    left = _window_start(box[0] + box[2] / 2, side, width)
    top = _window_start(box[1] + box[3] / 2, side, height)
    return Window(left, top, side)


def draw_crop(
    pixels: np.ndarray | None, segmentation: Mapping[str, Any] | list[Any],
    size: tuple[int, int], box: Sequence[float], role: str | None,
    annotated: Mapping[str, Any] | list[Any] | None = None,
) -> bytes:
    """Return the surroundings of a box with a mask drawn in, as a WebP file.

    With an annotation, pixels are tinted in the colours of `drawing.OUTCOMES`.

    Args:
        pixels: [height, width, 3] uint8 of the whole image; None draws the mask on grey.
        segmentation: Mask in COCO's format.
        size: Height and width of the image in pixels.
        box: [x, y, width, height] in pixels.
        role: "seen", or "novel", which draws the box dashed.
        annotated: Annotated mask in COCO's format, with which the mask is compared; the mask itself
            shows an annotation.
    """
    height, width = size
    if pixels is None:
        pixels = np.full((height, width, 3), _GREY, np.uint8)
    window = window_around(box, height, width)
    image = np.asarray(_crop(Image.fromarray(pixels), window, Image.Resampling.LANCZOS))
    scale = SIDE / window.side
    x, y, box_width, box_height = box
    corners = np.array([y, x, y + box_height, x + box_width], float)
    corners = (corners - [window.top, window.left, window.top, window.left]) * scale
    mask = _crop_mask(segmentation, size, window)
    compared = None if annotated is None else [_crop_mask(annotated, size, window)]
    return _encode_webp(drawing.draw_instances(
        image, corners[None], mask[None], [""], [role], line_width=_LINE_WIDTH,
        annotated=compared))


def data_uri(webp: bytes) -> str:
    """Return a WebP file as a data URI."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode('ascii')}"


def _window_start(middle: float, side: int, length: int) -> int:
    """Return the start of a window around a point, moved inside the image where it fits."""
    start = round(middle - side / 2)
    if side >= length:
        return (length - side) // 2
    return min(max(start, 0), length - side)


def _crop(image: Image.Image, window: Window, resampling: Image.Resampling) -> Image.Image:
    right, bottom = window.left + window.side, window.top + window.side
    return image.crop((window.left, window.top, right, bottom)).resize((SIDE, SIDE), resampling)


def _crop_mask(
    segmentation: Mapping[str, Any] | list[Any], size: tuple[int, int], window: Window
) -> np.ndarray:
    """Return a mask in a window, [SIDE, SIDE] bool."""
    mask = masks.decode_segmentation(segmentation, *size)
    # Smooth enlargement and a threshold at one half: outlines without steps.
    return np.asarray(
        _crop(Image.fromarray(mask * 255), window, Image.Resampling.BILINEAR)) > 127


def _encode_webp(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=_QUALITY, method=4)
    return file.getvalue()
