"""Drawing of instances, from annotations or predictions, into images.

Lines are light with a dark edge, at least 9 : 1 apart in contrast, so that whatever the picture's
colour, one of them has a contrast of at least 3 : 1 with it (WCAG 2.1, 1.4.11). Novel classes
differ from seen ones without relying on colour: their boxes are dashed and their labels say
"novel".
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from deepmac_ablate.data.label_text import Label, report_missing_fonts, shorten_label

Color = tuple[int, int, int]
Outcome = Literal["true", "false", "missed"]

# Colours of detected and of missed objects, and of the pixels of a mask that is compared with the
# annotation: in both, in the prediction only, in the annotation only. Reports use them, too.
OUTCOMES: Mapping[Outcome, Color] = {
    "true": (0, 213, 224), "false": (255, 120, 235), "missed": (255, 216, 0)}
# Neither: what lies on a crowd region, or on an object whose mask is unknown.
_NO_OUTCOME = (200, 200, 200)

# Smaller images are enlarged, so that labels do not hide the objects, but thin strips only so far.
_MIN_SIDE = 320
MAX_SIDE = 4096
_MASK_OPACITY = 0.4
_DARK, _WHITE = (0, 0, 0), (255, 255, 255)
# Relative luminance of the light part of lines, 9 : 1 in contrast with black.
_LEAST_LUMINANCE = 0.4
_LABEL_SIZE = 13
_DASH = 6
# Green, which no outcome has.
_FIRST_HUE = 0.33
_GOLDEN_RATIO = 0.618034
_PAD = 4
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray | None,
    labels: Sequence[str],
    roles: Sequence[str | None] | None = None,
    scores: Sequence[float] | None = None,
    line_width: int = 1,
    outcomes: Sequence[Outcome | None] | None = None,
    annotated: Sequence[np.ndarray | None] | None = None,
) -> Image.Image:
    """Return the image with translucent masks, their contours, boxes and labels.

    An image whose shorter side has less than 320 pixels is enlarged by a whole factor, unless the
    longer side would exceed 4096 pixels. A label is placed beside its box where it covers least of
    any object, in relation to the object's size, and of other labels.

    Args:
        image: Image, [height, width, 3] uint8.
        boxes: Boxes, [n, 4], ``[ymin, xmin, ymax, xmax]`` in pixels of `image`.
        masks: Masks, [n, height, width], drawn where non-zero; None to draw no masks.
        labels: Text for each of the n instances, on one line; an empty one is not drawn, and a long
            one is shortened.
        roles: "seen", "novel" or None for each instance; novel ones get a dashed box and a note.
        scores: Confidence of each instance, 0..1, shown after the label; None to show none.
        line_width: Width of boxes, and of contours inside the mask, in pixels of the result.
        outcomes: Outcome of each instance, which is written before its label and gives its colour;
            missed ones are not tinted. None gives every instance a colour of its own.
        annotated: Annotated mask of each instance, [height, width], or None where it is unknown.
            Pixels of both masks, and of only one of them, are tinted in the colours of `OUTCOMES`,
            and the contour is white.
    """
    height, width = image.shape[:2]
    factor = min(math.ceil(_MIN_SIDE / min(height, width)), MAX_SIDE // max(height, width))
    factor = max(1, factor)
    canvas = _enlarge(image, factor)
    count = len(labels)
    colors = [_color(i) for i in range(count)]
    if outcomes is not None:
        colors = [OUTCOMES.get(outcome, _NO_OUTCOME) for outcome in outcomes]
    corners = [_pixel_corners(box, factor) for box in np.asarray(boxes, float)]
    occupied = np.zeros(canvas.shape[:2], np.float32)
    contours = []
    # Large objects first, as they would hide small ones.
    for i in sorted(range(count), key=lambda i: -corners[i].area):
        mask = None if masks is None else _enlarge(np.asarray(masks[i], bool), factor)
        _occupy(occupied, mask, corners[i])
        if mask is None:
            continue
        truth = None if annotated is None else annotated[i]
        # Nothing was predicted on a missed object, so that only its contour is drawn.
        is_missed = outcomes is not None and outcomes[i] == "missed"
        parts = {} if is_missed else {colors[i]: mask}
        line = colors[i] if truth is None else _WHITE
        if truth is not None:
            truth = _enlarge(np.asarray(truth, bool), factor)
            missed = truth & ~mask
            parts = {OUTCOMES["true"]: mask & truth, OUTCOMES["false"]: mask & ~truth,
                     OUTCOMES["missed"]: missed}
            contours.append((OUTCOMES["missed"], _find_contour(missed, line_width)))
        for color, part in parts.items():
            _tint(canvas, part, color)
        contours.append((line, _find_contour(mask, line_width)))
    # After all masks, so that none is drawn over another's contour.
    for _, contour in contours:
        canvas[contour.edge] = _DARK
    for color, contour in contours:
        canvas[contour.line] = color
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    roles = roles or [None] * count
    for color, box, role in zip(colors, corners, roles, strict=True):
        _draw_box(pen, box, color, role == "novel", line_width)
    report_missing_fonts(labels)
    for i, (color, box, role) in enumerate(zip(colors, corners, roles, strict=True)):
        if labels[i]:
            text = shorten_label(labels[i]) + (" (novel)" if role == "novel" else "")
            if outcomes is not None and outcomes[i] is not None:
                text = f"{outcomes[i]}: {text}"
            _draw_label(
                pen, text if scores is None else f"{text} {scores[i]:.2f}", box, color, occupied)
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


def _relative_luminance(color: Color) -> float:
    """Return the relative luminance of an sRGB colour, 0 to 1 (WCAG 2.1)."""
    linear = [
        share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4
        for share in (channel / 255 for channel in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _color(index: int) -> Color:
    """Return a light colour, of another hue for each index."""
    # Steps of the golden ratio around the colour wheel: consecutive numbers differ much in hue.
    pure = colorsys.hsv_to_rgb((_FIRST_HUE + index * _GOLDEN_RATIO) % 1, 0.85, 1.0)
    for white in np.arange(0.0, 1.0, 0.02):
        red, green, blue = (round(255 * (share + (1 - share) * white)) for share in pure)
        if _relative_luminance((red, green, blue)) >= _LEAST_LUMINANCE:
            break
    return red, green, blue


def _enlarge(array: np.ndarray, factor: int) -> np.ndarray:
    return np.array(array).repeat(factor, axis=0).repeat(factor, axis=1)


class _Corners(NamedTuple):
    """First and last pixels of a box."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """The number of pixels."""
        return (self.bottom - self.top + 1) * (self.right - self.left + 1)


def _pixel_corners(box: np.ndarray, factor: int) -> _Corners:
    top, left, bottom, right = (round(edge * factor) for edge in box.tolist())
    # The last pixel inside the box: its end is where the next pixel begins.
    return _Corners(top, left, max(top, bottom - 1), max(left, right - 1))


def _occupy(occupied: np.ndarray, mask: np.ndarray | None, box: _Corners) -> None:
    """Add 1, spread over the pixels of an object: of its mask, or else of its box."""
    if mask is not None and mask.any():
        occupied[mask] += 1 / mask.sum()
        return
    inside = occupied[max(box.top, 0) : box.bottom + 1, max(box.left, 0) : box.right + 1]
    inside += 1 / max(inside.size, 1)


def _tint(canvas: np.ndarray, mask: np.ndarray, color: Color) -> None:
    canvas[mask] = np.round(
        canvas[mask] * (1 - _MASK_OPACITY) + np.array(color) * _MASK_OPACITY).astype(np.uint8)


class _Contour(NamedTuple):
    """Pixels of a contour as indices of rows and columns: its line, and the edge around it."""

    line: tuple[np.ndarray, ...]
    edge: tuple[np.ndarray, ...]


def _find_contour(mask: np.ndarray, line_width: int) -> _Contour:
    """Return the contour of a mask: a line inside, and an edge of half its width outside."""
    pixels = mask.astype(np.uint8)
    # Beyond the picture is outside.
    inner = cv2.erode(pixels, _CROSS, iterations=line_width, borderType=cv2.BORDER_CONSTANT,
                      borderValue=0)
    outer = cv2.dilate(pixels, _CROSS, iterations=(line_width + 1) // 2)
    return _Contour(np.nonzero(pixels & ~inner), np.nonzero(outer & ~pixels))


def _draw_box(
    pen: ImageDraw.ImageDraw, box: _Corners, color: Color, dashed: bool, line_width: int
) -> None:
    # Lines grow outwards, so that they hide nothing inside the box.
    edges = [
        (box.left - grown, box.top - grown, box.right + grown, box.bottom + grown)
        for grown in range(line_width + (line_width + 1) // 2)]
    for rectangle in edges:
        pen.rectangle(rectangle, outline=_DARK)
    for rectangle in edges[:line_width]:
        if dashed:
            _draw_dashes(pen, rectangle, color, line_width)
        else:
            pen.rectangle(rectangle, outline=color)


def _draw_dashes(
    pen: ImageDraw.ImageDraw, edges: Sequence[int], color: Color, line_width: int
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
    pen: ImageDraw.ImageDraw, text: str, box: _Corners, color: Color, occupied: np.ndarray
) -> None:
    """Draw a label, and add 1 to `occupied`, spread over its pixels."""
    label = Label(text, _LABEL_SIZE)
    width, height = math.ceil(label.width) + 4, math.ceil(label.height) + 3
    x, y = _place_label(width, height, box, occupied)
    occupied[y : y + height, x : x + width] += 1 / (width * height)
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=color, outline=_DARK)
    label.draw(pen, x + 2, y + 1, _DARK)


def _place_label(
    width: int, height: int, box: _Corners, occupied: np.ndarray
) -> tuple[int, int]:
    """Return the left and top of a label inside the picture where it covers least.

    Places around the box come first, so that the label is inside of objects that fill the picture
    only.
    """
    # With room for the lines of the box.
    above, below, before, behind = (
        box.top - height - 1, box.bottom + 3, box.left - width - 1, box.right + 3)
    end = box.right - width + 1
    places = [
        (box.left, above), (box.left, below), (end, above), (end, below), (behind, box.top),
        (before, box.top), (box.left, box.top), (box.left, box.bottom - height + 1),
        (box.left, above - height), (box.left, below + height)]
    rows, columns = occupied.shape
    inside = [
        (min(max(x, 0), max(0, columns - width)), min(max(y, 0), max(0, rows - height)))
        for x, y in places]

    def cost(place: tuple[int, int]) -> float:
        covered = occupied[place[1] : place[1] + height, place[0] : place[0] + width]
        return round(float(covered.sum()), 3)

    return min(inside, key=cost)
