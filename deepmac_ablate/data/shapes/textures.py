"""Textures of the synthetic dataset; objects and ground are painted from the same distribution.

Neither colour nor pattern distinguishes objects from the ground or one class from another; only the
borders between surfaces do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

_DARKEST, _BRIGHTEST = 40.0, 215.0
# Less than the range of brightness, so that colours are not garish.
_MAX_TINT = 50.0
_GRAIN = 6.0


def paint_surface(size: int, rng: np.random.Generator) -> np.ndarray:
    """Paint a random surface: two colours mixed by a pattern, with shading and grain.

    The scale of the pattern is in pixels, so a small surface looks like a part of a large one.

    Args:
        size: Side in pixels.
        rng: Source of all other choices.

    Returns:
        [size, size, 3] float64, about 0..255.
    """
    first = rng.uniform(_DARKEST, _BRIGHTEST) + rng.uniform(-_MAX_TINT, _MAX_TINT, 3)
    second = np.clip(first + rng.uniform(-80, 80) + rng.uniform(-35, 35, 3), 10, 245)
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))](size, rng)
    surface = first + pattern[..., None] * (second - first)
    surface += _ramp(size, rng)[..., None] * rng.uniform(0, 40)
    return surface + rng.uniform(-_GRAIN, _GRAIN, surface.shape)


def _blobs(size: int, rng: np.random.Generator) -> np.ndarray:
    field = np.zeros((size, size))
    scale = rng.uniform(0.7, 1.4)
    for pixels, weight in ((40, 1.0), (18, 0.6), (8, 0.4)):
        field += weight * _smooth_noise(size, pixels * scale, rng)
    return np.clip(field / 2 + 0.5, 0, 1)


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    wave = _ramp(size, rng) * size / rng.uniform(5, 16)
    wave += _smooth_noise(size, 32, rng) * rng.uniform(0, 0.6)
    return _soft_step(np.abs(wave % 2 - 1) - 0.5)


def _checks(size: int, rng: np.random.Generator) -> np.ndarray:
    # The same period in two directions.
    period, angle = size / rng.uniform(5, 14), rng.uniform(0, np.pi)
    along, across = _ramp_at(size, angle) * period, _ramp_at(size, angle + np.pi / 2) * period
    product = (np.abs(along % 2 - 1) - 0.5) * (np.abs(across % 2 - 1) - 0.5)
    return _soft_step(product * 4)


def _speckles(size: int, rng: np.random.Generator) -> np.ndarray:
    noise = _smooth_noise(size, rng.uniform(4, 9), rng)
    return _soft_step(noise - rng.uniform(0, 0.4))


_PATTERNS: tuple[Callable[[int, np.random.Generator], np.ndarray], ...] = (
    _blobs,
    _stripes,
    _checks,
    _speckles,
)


def _smooth_noise(size: int, pixels: float, rng: np.random.Generator) -> np.ndarray:
    cells = max(2, round(size / pixels) + 1)
    coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    fine = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(fine, np.float64)


def _ramp(size: int, rng: np.random.Generator) -> np.ndarray:
    return _ramp_at(size, rng.uniform(0, 2 * np.pi))


def _ramp_at(size: int, angle: float) -> np.ndarray:
    # From -1 to 1 over the side, in the direction of the angle.
    position = np.linspace(-1, 1, size)
    return position * np.cos(angle) + position[:, None] * np.sin(angle)


def _soft_step(values: np.ndarray) -> np.ndarray:
    return np.clip(values * 4 + 0.5, 0, 1)
