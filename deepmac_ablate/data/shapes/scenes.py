"""Images of the synthetic dataset: textured objects that occlude each other on textured ground."""

from __future__ import annotations

import dataclasses
import io
from typing import NamedTuple

import numpy as np
import pycocotools.mask as mask_util
from PIL import Image, ImageFilter

from deepmac_ablate.data import masks
from deepmac_ablate.data.coco_annotations import Entry
from deepmac_ablate.data.shapes import outlines, textures

# 20 to 64 of 128 pixels; two thirds are small in COCO's sense (area under 32 x 32).
MIN_EXTENT, MAX_EXTENT = 20 / 128, 64 / 128
MIN_VISIBLE = 0.25
_PLACES_TRIED = 12
# Objects with less contrast to what they lie on are painted again.
_MIN_CONTRAST = 22.0
_SURFACES_TRIED = 8
_EDGE_SHADE = 0.75
_BLUR_RADIUS = 0.5


@dataclasses.dataclass(frozen=True)
class Scene:
    """One image and its instances.

    Attributes:
        image: Image, [size, size, 3] uint8.
        names: Class name of each instance.
        visible: Masks of the visible parts, [n, size, size] bool; they do not overlap.
    """

    image: np.ndarray
    names: list[str]
    visible: np.ndarray


class SceneTask(NamedTuple):
    """Everything that determines one image: class names, side in pixels, and a seed."""

    names: list[str]
    size: int
    seed: tuple[int, ...]


def render_scene(task: SceneTask) -> tuple[bytes, list[tuple[str, Entry]]]:
    """Return an image as a PNG file, and for each instance its class name and COCO annotation.

    The annotations have `bbox`, `area`, `iscrowd` and `segmentation`; the caller adds ids.
    """
    scene = draw_scene(task.names, task.size, np.random.default_rng(task.seed))
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, format="PNG")
    found = zip(scene.names, scene.visible, strict=True)
    return buffer.getvalue(), [(name, _annotation(mask)) for name, mask in found]


def _annotation(mask: np.ndarray) -> Entry:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return {
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": masks.encode_runs(mask),
    }


def draw_scene(names: list[str], size: int, rng: np.random.Generator) -> Scene:
    """Draw an image with an instance of each of `names`, later ones in front.

    An instance is left out, of image and annotations alike, if no place is found for it that leaves
    at least a quarter of every other instance visible.

    Args:
        names: Class names.
        size: Side in pixels.
        rng: Source of all other choices.
    """
    canvas = _ground(size, rng)
    drawn: list[str] = []
    visible: list[np.ndarray] = []
    areas: list[int] = []
    for name in names:
        extent = rng.uniform(MIN_EXTENT, MAX_EXTENT) * size
        polygons = outlines.draw_outline(name, extent, rng)
        mask = _place(polygons, visible, areas, size, rng)
        if mask is None:
            continue
        canvas = _paint_object(canvas, mask, rng)
        visible = [other & ~mask for other in visible] + [mask]
        areas.append(int(mask.sum()))
        drawn.append(name)
    pixels = np.clip(np.round(canvas), 0, 255).astype(np.uint8)
    # Slight blur, as of a camera; without it every outline would be a staircase.
    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(_BLUR_RADIUS))
    return Scene(np.asarray(image), drawn, np.array(visible, bool).reshape(-1, size, size))


def _ground(size: int, rng: np.random.Generator) -> np.ndarray:
    # Up to three surfaces, whose smooth borders are not outlines of objects.
    canvas = textures.paint_surface(size, rng)
    for _ in range(rng.integers(0, 3)):
        angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.7, 0.7)
        position = np.linspace(-1, 1, size)
        distance = position * np.cos(angle) + position[:, None] * np.sin(angle) - offset
        bend = rng.uniform(-0.4, 0.4) * (
            position * np.sin(angle) - position[:, None] * np.cos(angle)
        )
        beyond = distance + bend**2 > 0
        canvas = np.where(beyond[..., None], textures.paint_surface(size, rng), canvas)
    return canvas


def _place(
    polygons: outlines.Polygons,
    visible: list[np.ndarray],
    areas: list[int],
    size: int,
    rng: np.random.Generator,
) -> np.ndarray | None:
    extent = polygons[0].max(axis=0)
    for _ in range(_PLACES_TRIED):
        mask = _rasterise(polygons, rng.uniform(0, size - extent), size)
        if all(
            (other & ~mask).sum() >= MIN_VISIBLE * area
            for other, area in zip(visible, areas, strict=True)
        ):
            return mask
    return None


def _rasterise(polygons: outlines.Polygons, corner: np.ndarray, size: int) -> np.ndarray:
    parts = [np.round(polygon + corner, 3).ravel().tolist() for polygon in polygons]
    outline, *holes = mask_util.decode(mask_util.frPyObjects(parts, size, size)).transpose(2, 0, 1)
    mask = outline.astype(bool)
    for hole in holes:
        mask &= ~hole.astype(bool)
    return mask


def _paint_object(canvas: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    part = mask[box]
    height, width = part.shape
    below = canvas[box][part].mean(axis=0)
    for _ in range(_SURFACES_TRIED):
        surface = textures.paint_surface(max(height, width), rng)[:height, :width]
        if np.abs(surface[part].mean(axis=0) - below).mean() >= _MIN_CONTRAST:
            break
    framed = np.pad(part, 1)
    inner = part & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    surface = np.where(inner[..., None], surface, surface * _EDGE_SHADE)
    canvas = canvas.copy()
    canvas[box] = np.where(part[..., None], surface, canvas[box])
    return canvas
