"""Predictions drawn on images of any size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from deepmac_ablate.data.masks import encode_runs
from deepmac_ablate.serving.predict import draw_results, encode_jpeg
from deepmac_ablate.serving.trained import ModelClasses

CLASSES = ModelClasses({1: "cat"}, {1: "novel"})


def result(height, width, score=0.9, **changes):
    """Return a box in the lower right quarter of an image, whose upper half is the mask."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 2 : height * 3 // 4, width // 2 :] = 1
    box = [width / 2, height / 2, width / 2, height / 2]
    return {"bbox": box, "score": score, "segmentation": encode_runs(mask), "category_id": 1,
            **changes}


@pytest.mark.parametrize(("height", "width", "shown"), [
    (400, 600, (600, 400)), (2400, 3200, (1600, 1200)), (4000, 800, (320, 1600)),
    (4000, 400, (320, 3200)), (100, 160, (640, 400)), (70_000, 40, (2, 4096))])
def test_masks_lie_where_they_were_predicted(height, width, shown):
    """Masks keep their place in large images, which shrink, and in small ones, which grow."""
    drawn = draw_results(
        np.full((height, width, 3), 128, np.uint8), [result(height, width)], CLASSES,
        show_scores=True)
    assert shown == drawn.size
    pixels = np.asarray(drawn).astype(int)
    colour = np.ptp(pixels, axis=-1)
    rows, columns = (np.array([0.3, 0.6, 0.9]) * pixels.shape[0]).astype(int), int(
        pixels.shape[1] * 0.97)
    assert [False, True, False] == (colour[rows, columns] > 20).tolist()


def test_the_smallest_is_on_top():
    """A small mask is drawn over a large one, whatever the order of the results."""
    picture = np.full((400, 400, 3), 128, np.uint8)
    large = result(400, 400)
    mask = np.zeros((400, 400), np.uint8)
    mask[220:240, 300:340] = 1
    small = {**large, "bbox": [300.0, 220.0, 40.0, 20.0], "segmentation": encode_runs(mask)}
    for results in ([large, small], [small, large]):
        drawn = np.asarray(draw_results(picture, results, ModelClasses({}, {}), show_scores=False))
        # Within the contour's column the colour is one: the large mask has not tinted it.
        column = drawn[224:236, 300].astype(int)
        assert np.ptp(column, axis=0).max() == 0
        assert column.max() == 255


def test_labels_say_what_is_known():
    """A label has name, role and score, and boxes without a class have none."""
    picture = np.full((400, 400, 3), 128, np.uint8)
    sizes = {}
    for name, changes, scored in (
            ("all", {}, True), ("no score", {}, False), ("nothing", {"category_id": None}, False)):
        drawn = np.asarray(
            draw_results(picture, [result(400, 400, **changes)], CLASSES, scored)).astype(int)
        # Labels stand above the box.
        sizes[name] = int((np.ptp(drawn[180:199], axis=-1) > 20).sum())
    assert 0 == sizes["nothing"] < sizes["no score"] < sizes["all"]


def test_a_jpeg_keeps_the_picture():
    """JPEG files keep coloured edges of one pixel."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 32] = (255, 0, 0)
    read = np.asarray(Image.open(io.BytesIO(encode_jpeg(Image.fromarray(picture)))))
    assert np.abs(read.astype(int) - picture).max() < 40
