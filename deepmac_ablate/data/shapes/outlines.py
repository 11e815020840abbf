"""Outlines of the twelve classes of the built-in synthetic dataset.

There are four classes each of three kinds (round, polygonal, spiky or concave), so that a split can
withhold masks within each kind. Each instance has random proportions and is bent by a smooth warp.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

# Each polygon is [k, 2] float64, x and y; a second one is a hole.
Polygons = list[np.ndarray]

_POINTS = 160
_MAX_WARP = 0.05


def _circle(radius: float = 1.0, aspect: float = 1.0) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    return np.stack([radius * np.cos(angles), radius * aspect * np.sin(angles)], -1)


def _radial(radii: np.ndarray, phase: float = 0.0) -> np.ndarray:
    angles = phase + np.arange(len(radii)) * 2 * np.pi / len(radii)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], -1)


def disc(rng: np.random.Generator) -> Polygons:
    """Draw a circle."""
    return [_circle(aspect=rng.uniform(0.93, 1.0))]


def ellipse(rng: np.random.Generator) -> Polygons:
    """Draw an ellipse that is about twice as long as wide."""
    return [_circle(aspect=rng.uniform(0.42, 0.62))]


def crescent(rng: np.random.Generator) -> Polygons:
    """Draw a circle from which a shifted circle is removed."""
    shift, radius = rng.uniform(0.45, 0.6), rng.uniform(0.75, 0.85)
    # The circles meet at the tips: the outer arc runs between them, and the inner one back.
    x = (1 - radius**2 + shift**2) / (2 * shift)
    outer_tip = np.arccos(x)
    inner_tip = np.arctan2(np.sqrt(1 - x**2), x - shift)
    outer = np.linspace(outer_tip, 2 * np.pi - outer_tip, _POINTS // 2)
    inner = np.linspace(2 * np.pi - inner_tip, inner_tip, _POINTS // 2)
    arcs = [
        np.stack([np.cos(outer), np.sin(outer)], -1),
        np.stack([shift + radius * np.cos(inner), radius * np.sin(inner)], -1),
    ]
    return [np.concatenate(arcs)]


def ring(rng: np.random.Generator) -> Polygons:
    """Draw a circle with a hole."""
    return [_circle(aspect=rng.uniform(0.9, 1.0)), _circle(rng.uniform(0.45, 0.6))]


def triangle(rng: np.random.Generator) -> Polygons:
    """Draw a triangle with angles of about 60 degrees."""
    return [_radial(rng.uniform(0.8, 1.0, 3))]


def square(rng: np.random.Generator) -> Polygons:
    """Draw a square, up to a tenth longer than wide."""
    return [_radial(np.ones(4), np.pi / 4) * [1.0, rng.uniform(0.9, 1.0)]]


def hexagon(rng: np.random.Generator) -> Polygons:
    """Draw a nearly regular hexagon."""
    return [_radial(rng.uniform(0.93, 1.0, 6))]


def l_shape(rng: np.random.Generator) -> Polygons:
    """Draw two bars that meet in a corner."""
    across, down = rng.uniform(0.3, 0.42, 2) * 2
    length = rng.uniform(1.4, 2.0)
    corners = [(0, 0), (length, 0), (length, down), (across, down), (across, 2), (0, 2)]
    return [np.array(corners) - [length / 2, 1]]


def star(rng: np.random.Generator) -> Polygons:
    """Draw a star with five points."""
    return [_radial(np.tile([1.0, rng.uniform(0.4, 0.5)], 5))]


def cross(rng: np.random.Generator) -> Polygons:
    """Draw two bars that cross in their middle."""
    half = rng.uniform(0.24, 0.36)
    quarter = np.array([(1, -half), (1, half), (half, half)])
    turns = [np.array([[0, 1], [-1, 0]]), np.array([[-1, 0], [0, -1]]), np.array([[0, -1], [1, 0]])]
    return [np.concatenate([quarter, *(quarter @ turn for turn in turns)])]


def arrow(rng: np.random.Generator) -> Polygons:
    """Draw a shaft with a head."""
    half, neck, barb = rng.uniform(0.16, 0.24), rng.uniform(-0.1, 0.2), rng.uniform(0.6, 0.75)
    upper = [(-1, half), (neck, half), (neck, barb), (1, 0)]
    return [np.array([*upper, (neck, -barb), (neck, -half), (-1, -half)])]


def gear(rng: np.random.Generator) -> Polygons:
    """Draw a wheel with seven teeth."""
    return [_radial(np.tile([1.0, 1.0, rng.uniform(0.62, 0.72), 0.66], 7))]


@dataclasses.dataclass(frozen=True)
class ShapeClass:
    """A class of the synthetic dataset.

    Attributes:
        kind: "round", "polygonal" or "spiky".
        draw: Function that draws one outline of radius 1.
    """

    kind: str
    draw: Callable[[np.random.Generator], Polygons]


# The category ids are the positions in this dictionary, from 1.
CLASSES: dict[str, ShapeClass] = {
    "disc": ShapeClass("round", disc),
    "ellipse": ShapeClass("round", ellipse),
    "crescent": ShapeClass("round", crescent),
    "ring": ShapeClass("round", ring),
    "triangle": ShapeClass("polygonal", triangle),
    "square": ShapeClass("polygonal", square),
    "hexagon": ShapeClass("polygonal", hexagon),
    "l_shape": ShapeClass("polygonal", l_shape),
    "star": ShapeClass("spiky", star),
    "cross": ShapeClass("spiky", cross),
    "arrow": ShapeClass("spiky", arrow),
    "gear": ShapeClass("spiky", gear),
}


def draw_outline(name: str, extent: float, rng: np.random.Generator) -> Polygons:
    """Draw one outline of a class, warped and rotated.

    Args:
        name: Name of the class.
        extent: Longer side of the bounding box in pixels.
        rng: Source of all other choices.

    Returns:
        Polygons whose bounding box starts at (0, 0): the outline, and a hole if the class has one.
    """
    polygons = [_resample(polygon) for polygon in CLASSES[name].draw(rng)]
    polygons = _warp(polygons, rng)
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    polygons = [polygon @ np.array([[cos, sin], [-sin, cos]]) for polygon in polygons]
    low, high = polygons[0].min(axis=0), polygons[0].max(axis=0)
    scale = extent / (high - low).max()
    # Rounded, so that the last bit of a sine, which depends on the machine, does not matter.
    return [np.round((polygon - low) * scale, 3) for polygon in polygons]


def _resample(polygon: np.ndarray) -> np.ndarray:
    # The warp moves points only, so edges need enough of them to bend.
    edges = np.roll(polygon, -1, axis=0) - polygon
    per_edge = max(1, _POINTS // len(polygon))
    steps = np.arange(per_edge) / per_edge
    return (polygon[:, None] + edges[:, None] * steps[:, None]).reshape(-1, 2)


def _warp(polygons: Polygons, rng: np.random.Generator) -> Polygons:
    frequencies = rng.uniform(1.5, 4.0, (2, 2))
    phases = rng.uniform(0, 2 * np.pi, 2)
    strengths = rng.uniform(0, _MAX_WARP, 2)
    return [
        polygon + strengths * np.sin(polygon @ frequencies + phases) for polygon in polygons
    ]
