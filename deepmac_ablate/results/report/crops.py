"""One object in its surroundings, drawn with a mask, as a small picture."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deepmac_ablate.data import drawing, masks

# In pixels; the least that is drawn in without being enlarged again. Shown at half of it, it is
# sharp on every screen.
SIDE = 320
_LINE_WIDTH = 2
# Around the box, as a share of its longer side.
_MARGIN = 0.35
_LEAST_SIDE = 24.0
_GREY = 122
_QUALITY = 72


class Window(NamedTuple):
    """A square of an image, in pixels; it may reach beyond the image's edge."""

    left: int
    top: int
    side: int


def window(box: Sequence[float], height: int, width: int) -> Window:
    """Returns a square around a box with some margin, inside the image where it fits.

    Args:
        box: [x, y, width, height] in pixels.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
    """
    side = math.ceil(max(_LEAST_SIDE, (1 + 2 * _MARGIN) * max(box[2], box[3])))
    left = _placed(box[0] + box[2] / 2, side, width)
    top = _placed(box[1] + box[3] / 2, side, height)
    return Window(left, top, side)


def draw(
    pixels: np.ndarray | None, segmentation: Mapping[str, Any] | list[Any],
    size: tuple[int, int], box: Sequence[float], role: str | None,
) -> bytes:
    """Returns the surroundings of a box with a mask in them, as a WebP file.

    Args:
        pixels: [height, width, 3] uint8 of the whole image; None: the mask is drawn on grey.
        segmentation: As COCO writes masks.
        size: Height and width of the image, in pixels.
        box: [x, y, width, height] in pixels.
        role: "seen" or "novel", whose box is dashed.
    """
    height, width = size
    if pixels is None:
        pixels = np.full((height, width, 3), _GREY, np.uint8)
    part = window(box, height, width)
    mask = masks.decode(segmentation, height, width)
    image = np.asarray(_cut(Image.fromarray(pixels), part, Image.Resampling.LANCZOS))
    # Enlarged smoothly and cut at a half: outlines without stairs.
    alpha = np.asarray(_cut(Image.fromarray(mask * 255), part, Image.Resampling.BILINEAR))
    scale = SIDE / part.side
    x, y, box_width, box_height = box
    corners = np.array([y, x, y + box_height, x + box_width], float)
    corners = (corners - [part.top, part.left, part.top, part.left]) * scale
    return _webp(drawing.draw_instances(
        image, corners[None], alpha[None] > 127, [""], [role], line_width=_LINE_WIDTH))


def data_uri(webp: bytes) -> str:
    """Returns a WebP file as the address of a picture that needs no other file."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode('ascii')}"


def _placed(middle: float, side: int, length: int) -> int:
    """Returns where a window begins: around the middle, pushed inside where it fits."""
    start = round(middle - side / 2)
    if side >= length:
        return (length - side) // 2
    return min(max(start, 0), length - side)


def _cut(picture: Image.Image, part: Window, resampling: Image.Resampling) -> Image.Image:
    whole = picture.crop((part.left, part.top, part.left + part.side, part.top + part.side))
    return whole.resize((SIDE, SIDE), resampling)


def _webp(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=_QUALITY, method=4)
    return file.getvalue()
