"""Crops of pooled boxes against Model Garden's aligner."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from official.vision.ops import spatial_transform_ops

from deepmac_ablate.modeling.roi_align import crop_features

HEIGHT, WIDTH = 128, 192
LEVELS = (2, 3, 4, 5)


def features() -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(0)
    return {
        str(level): tf.constant(
            rng.normal(size=(2, HEIGHT >> level, WIDTH >> level, 3)).astype(np.float32))
        for level in LEVELS
    }


def boxes() -> np.ndarray:
    """[2, n, 4]: boxes of every size, inside, over the border, and padding."""
    rng = np.random.default_rng(1)
    side = np.exp(rng.uniform(np.log(0.5), np.log(3000.0), (2, 80, 2)))
    centre = rng.uniform(-20, 200, (2, 80, 2))
    drawn = np.concatenate([centre - side / 2, centre + side / 2], axis=-1)
    exact = [[-1, -1, -1, -1], [0, 0, HEIGHT, WIDTH], [5, 5, 5, 5], [0, 0, 112, 112],
             [0, 0, 224, 224], [0, 0, 56, 56], [127, 191, 128, 192]]
    return np.concatenate([drawn, np.tile([exact], (2, 1, 1))], axis=1).astype(np.float32)


def pooled(maps: dict[str, tf.Tensor], crop_size: int, offset: float = 0.5) -> tf.Tensor:
    """Our crops of all boxes, in a shuffled pool, brought back into order."""
    flat = boxes().reshape(-1, 4)
    images = np.repeat(np.arange(2), len(flat) // 2)
    order = np.random.default_rng(2).permutation(len(flat))
    crops = crop_features(
        maps, tf.constant(flat[order]), tf.constant(images[order]), crop_size, offset)
    return tf.gather(crops, np.argsort(order))


def test_boxes_reach_every_level() -> None:
    """The random boxes are of all sizes that a pyramid distinguishes."""
    sides = boxes()[..., 2:] - boxes()[..., :2]
    level = np.floor(np.log2(np.sqrt(np.prod(sides, axis=-1) + 1e-9) / 224)) + 4
    assert set(LEVELS) <= set(np.clip(level, 2, 5).astype(int).ravel())
    assert level.min() < 2
    assert level.max() > 5


def test_crops_equal_model_gardens() -> None:
    """Every crop is the one that Model Garden's aligner gives, to 1e-5."""
    for crop_size, offset in ((1, 0.5), (7, 0.5), (14, 0.25), (32, 0.0)):
        expected = spatial_transform_ops.multilevel_crop_and_resize(
            features(), tf.constant(boxes()), crop_size, offset)
        actual = pooled(features(), crop_size, offset)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            actual, np.reshape(expected, actual.shape), rtol=0, atol=1e-5 * scale)


def test_gradients_equal_model_gardens() -> None:
    """So do the gradients with respect to the features of every level."""
    maps = features()
    weight = tf.constant(np.random.default_rng(3).normal(size=(174, 7, 7, 3)).astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        theirs = spatial_transform_ops.multilevel_crop_and_resize(maps, tf.constant(boxes()), 7)
        theirs = tf.reduce_sum(tf.reshape(theirs, weight.shape) * weight)
        ours = tf.reduce_sum(pooled(maps, 7) * weight)
    expected, actual = tape.gradient(theirs, maps), tape.gradient(ours, maps)
    for level in maps:
        scale = np.abs(expected[level]).max()
        assert scale > 0
        np.testing.assert_allclose(actual[level], expected[level], rtol=0, atol=1e-5 * scale)


def test_a_crop_samples_bin_centres() -> None:
    """On a ramp, whose interpolation is exact, a crop reads the coordinates of its bin centres."""
    rows = tf.tile(tf.range(64.0)[tf.newaxis, :, tf.newaxis, tf.newaxis], [1, 1, 64, 1])
    crop = crop_features({"2": rows}, tf.constant([[20.0, 20.0, 52.0, 52.0]]), tf.constant([0]), 4)
    # In cells of 4 pixels the box spans 5 to 13: bins of 2, centres at 6, 8, 10, 12.
    np.testing.assert_allclose([6.0, 8.0, 10.0, 12.0], crop[0, :, 0, 0], atol=1e-5)
