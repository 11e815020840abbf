"""Drawing of instances, from annotations or predictions, into images.

Novel classes differ from seen ones without relying on colour: their boxes are dashed and their
labels say "novel".
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from deepmac_ablate.data.label_text import Label, report_missing_fonts, shorten_label

# Smaller images are enlarged, so that labels do not hide the objects, but thin strips only so far.
_MIN_SIDE = 320
MAX_SIDE = 4096
_MASK_OPACITY = 0.4
_LABEL_SIZE = 13
_DASH = 6
_GOLDEN_RATIO = 0.618034
_PAD = 4


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray | None,
    labels: Sequence[str],
    roles: Sequence[str | None] | None = None,
    scores: Sequence[float] | None = None,
    line_width: int = 1,
) -> Image.Image:
    """Return the image with translucent masks, their contours, boxes and labels.

    An image whose shorter side has less than 320 pixels is enlarged by a whole factor, unless the
    longer side would exceed 4096 pixels.

    Args:
        image: Image, [height, width, 3] uint8.
        boxes: Boxes, [n, 4], ``[ymin, xmin, ymax, xmax]`` in pixels of `image`.
        masks: Masks, [n, height, width], drawn where non-zero; None to draw no masks.
        labels: Text for each of the n instances, on one line; an empty one is not drawn, and a long
            one is shortened.
        roles: "seen", "novel" or None for each instance; novel ones get a dashed box and a note.
        scores: Confidence of each instance, 0..1, shown after the label; None to show none.
        line_width: Width of boxes, and of contours inside the mask, in pixels of the result.
    """
    height, width = image.shape[:2]
    factor = min(math.ceil(_MIN_SIDE / min(height, width)), MAX_SIDE // max(height, width))
    factor = max(1, factor)
    canvas = _enlarge(image, factor)
    colors = [_color(i) for i in range(len(labels))]
    for color, mask in zip(colors, [] if masks is None else masks, strict=False):
        _tint(canvas, _enlarge(np.asarray(mask, bool), factor), color, line_width)
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    roles = roles or [None] * len(labels)
    corners = [(np.asarray(box, float) * factor).tolist() for box in boxes]
    for color, box, role in zip(colors, corners, roles, strict=True):
        _draw_box(pen, box, color, role == "novel", line_width)
    report_missing_fonts(labels)
    for i, (color, box, role) in enumerate(zip(colors, corners, roles, strict=True)):
        if labels[i]:
            text = shorten_label(labels[i]) + (" (novel)" if role == "novel" else "")
            _draw_label(pen, text if scores is None else f"{text} {scores[i]:.2f}", box, color)
    return picture


def contact_sheet(
    images: Sequence[Image.Image], columns: int, captions: Sequence[str] | None = None
) -> Image.Image:
    """Return the images side by side, row by row, with a caption under each.

    Args:
        images: At least one image; a row is as high as its highest image, and all columns have
            the same width.
        columns: Number of images in a row, at least 1.
        captions: One caption per image, or None.
    """
    caption_height = _LABEL_SIZE + 2 * _PAD if captions else 0
    columns = min(columns, len(images))
    rows = [images[at : at + columns] for at in range(0, len(images), columns)]
    width = max(image.width for image in images) + _PAD
    heights = [max(image.height for image in row) + caption_height + _PAD for row in rows]
    sheet = Image.new("RGB", (columns * width + _PAD, sum(heights) + _PAD), "white")
    pen = ImageDraw.Draw(sheet)
    for i, image in enumerate(images):
        x, y = _PAD + i % columns * width, _PAD + sum(heights[: i // columns])
        sheet.paste(image, (x, y))
        if captions:
            Label(captions[i], _LABEL_SIZE).draw(pen, x, y + image.height + _PAD // 2, "black")
    return sheet


def _color(index: int) -> tuple[int, int, int]:
    # Steps of the golden ratio around the colour wheel: consecutive numbers differ much in hue.
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _enlarge(array: np.ndarray, factor: int) -> np.ndarray:
    return np.array(array).repeat(factor, axis=0).repeat(factor, axis=1)


def _tint(
    canvas: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], line_width: int
) -> None:
    canvas[mask] = np.round(
        canvas[mask] * (1 - _MASK_OPACITY) + np.array(color) * _MASK_OPACITY
    ).astype(np.uint8)
    inner = mask
    for _ in range(line_width):
        framed = np.pad(inner, 1)
        inner = inner & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    canvas[mask & ~inner] = color


def _draw_box(
    pen: ImageDraw.ImageDraw,
    box: Sequence[float],
    color: tuple[int, int, int],
    dashed: bool,
    line_width: int,
) -> None:
    top, left, bottom, right = (round(edge) for edge in box)
    # The last pixel inside the box: its end is where the next pixel begins.
    bottom, right = max(top, bottom - 1), max(left, right - 1)
    # Lines grow outwards, so that they hide nothing inside the box.
    for grown in range(line_width):
        edges = (left - grown, top - grown, right + grown, bottom + grown)
        if dashed:
            _draw_dashes(pen, edges, color, line_width)
        else:
            pen.rectangle(edges, outline=color)


def _draw_dashes(
    pen: ImageDraw.ImageDraw, edges: Sequence[int], color: tuple[int, int, int], line_width: int
) -> None:
    left, top, right, bottom = edges
    dash = _DASH * line_width
    for x in range(left, right + 1, 2 * dash):
        for y in (top, bottom):
            pen.line((x, y, min(x + dash - 1, right), y), fill=color)
    for y in range(top, bottom + 1, 2 * dash):
        for x in (left, right):
            pen.line((x, y, x, min(y + dash - 1, bottom)), fill=color)


def _draw_label(
    pen: ImageDraw.ImageDraw, text: str, box: Sequence[float], color: tuple[int, int, int]
) -> None:
    label = Label(text, _LABEL_SIZE)
    width, height = math.ceil(label.width), math.ceil(label.height)
    picture_width, picture_height = pen.im.size
    # Above the box, or inside if there is no space above; never outside the picture.
    top = box[0] - height - 2 if box[0] >= height + 2 else box[0]
    x = min(max(round(box[1]), 0), max(0, picture_width - width - 3))
    y = min(max(round(top), 0), max(0, picture_height - height - 2))
    pen.rectangle((x, y, x + width + 2, y + height + 1), fill=color)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    label.draw(pen, x + 1, y, "black" if luminance > 128 else "white")
