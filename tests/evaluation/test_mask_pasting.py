"""Masks pasted into images, against Model Garden and pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from official.vision.ops import mask_ops
from pycocotools import mask as rle

from deepmac_ablate.evaluation.mask_pasting import paste_masks

COUNT = 8


def anywhere(rng, height, width):
    """Return boxes in the image, across its borders and beyond them."""
    low = rng.uniform([-width, -height], [2 * width, 2 * height], (COUNT, 2))
    return np.concatenate([low, rng.uniform(0, [width, height], (COUNT, 2))], axis=1)


def within_a_pixel(rng, height, width):
    low = rng.uniform(0, [width, height], (COUNT, 2))
    return np.concatenate([low, rng.uniform(0, 1, (COUNT, 2))], axis=1)


def of_one_pixel(rng, height, width):
    low = np.floor(rng.uniform(0, [width, height], (COUNT, 2)))
    return np.concatenate([low, np.ones((COUNT, 2))], axis=1)


def of_the_whole_image(rng, height, width):
    del rng
    return np.tile([0.0, 0.0, width, height], (COUNT, 1))


def beyond_all_borders(rng, height, width):
    del rng
    return np.tile([-3.0, -2.0, width + 6, height + 5], (COUNT, 1))


def at_borders(rng, height, width):
    half = np.array([width / 2, height / 2])
    low = rng.integers(0, 2, (COUNT, 2)) * half
    return np.concatenate([low, np.tile(half, (COUNT, 1))], axis=1)


@pytest.mark.parametrize(
    "boxes",
    [anywhere, within_a_pixel, of_one_pixel, of_the_whole_image, beyond_all_borders, at_borders])
@pytest.mark.parametrize("cells", [1, 14, 28])
def test_encoded_masks_are_those_of_model_garden_byte_for_byte(boxes, cells):
    """Every pixel and the run lengths agree, for full, empty and random masks."""
    rng = np.random.default_rng(cells)
    for _ in range(10):
        height, width = rng.integers(1, 90, 2).tolist()
        masks = rng.random((COUNT, cells, cells)).astype(np.float32)
        masks[0], masks[1] = 1.0, 0.0
        placed = boxes(rng, height, width)
        pasted = mask_ops.paste_instance_masks(masks, placed, height, width)
        expected = [rle.encode(np.asfortranarray(mask)) for mask in pasted]
        assert [{"size": [height, width], "counts": code["counts"].decode()}
                for code in expected] == paste_masks(masks, placed, height, width)


def test_no_masks():
    """An image without detections has no masks."""
    assert [] == paste_masks(np.zeros((0, 1, 1), np.float32), np.zeros((0, 4)), 10, 20)
