"""Predictions drawn on a picture of any size."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from deepmac_ablate.data import drawing
from deepmac_ablate.serving.classes import Classes

# Larger pictures are drawn smaller, or labels could not be read where the whole is seen; but not
# so small that `drawing` would enlarge them again.
_MAX_SIDE = 1600
_MIN_SIDE = 320
_JPEG_QUALITY = 92


def draw(
    pixels: np.ndarray,
    results: Sequence[Mapping[str, Any]],
    classes: Classes,
    scored: bool,
) -> Image.Image:
    """Draws results on a picture, made smaller if a side has more than 1600 pixels.

    Args:
        pixels: [h, w, 3] uint8.
        results: COCO results with masks as run lengths.
        classes: of the model.
        scored: whether scores are written.
    """
    picture = Image.fromarray(pixels)
    scale = min(1.0, max(_MAX_SIDE / max(picture.size), _MIN_SIDE / min(picture.size)))
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    if scale < 1.0:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    # Large ones first, as they would hide the small ones.
    upwards = sorted(results, key=lambda result: -result["bbox"][2] * result["bbox"][3])
    boxes = np.array([_yxyx(result["bbox"]) for result in upwards]).reshape(-1, 4) * scale
    masks = np.zeros((len(upwards), *picture.size[::-1]), np.uint8)
    for mask, result in zip(masks, upwards, strict=True):
        whole = Image.fromarray(rle.decode(result["segmentation"]))
        mask[:] = np.asarray(whole.resize(size, Image.Resampling.NEAREST))
    ids = [result.get("category_id") for result in upwards]
    return drawing.draw_instances(
        np.asarray(picture), boxes, masks,
        ["" if class_id is None else classes.label(class_id) for class_id in ids],
        [classes.roles.get(class_id) for class_id in ids],
        [result["score"] for result in upwards] if scored else None)


def to_jpeg(picture: Image.Image) -> bytes:
    """Returns a picture as a JPEG file, without blurred colours at the edges of masks."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _yxyx(bbox: Sequence[float]) -> list[float]:
    x, y, width, height = bbox
    return [y, x, y + height, x + width]
