"""Noise on boxes, in training and in evaluation; `jitter` says what the modes mean."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deepmac_ablate.box_jitter import Jitter


def jitter_boxes(
    boxes: tf.Tensor, draws: tf.Tensor, jitter: Jitter, image_size: tf.types.experimental.TensorLike
) -> tf.Tensor:
    """Move the edges of boxes.

    Args:
        boxes: [..., 4] floats, [ymin, xmin, ymax, xmax] inside the image.
        draws: [..., 4] of the same type in 0..1: one for each edge in this order; the symmetric
            modes take the first for the height and the second for the width, or the first for both.
        jitter: how much and in which way.
        image_size: [2] height and width of the image in the boxes' unit, or [..., 2] of each box.

    Returns:
        [..., 4] inside the image, of positive height and width where the box had them.
    """
    size = tf.constant(image_size, boxes.dtype)
    low, high = boxes[..., :2], boxes[..., 2:]
    centre, half = (low + high) / 2, (high - low) / 2
    least = 0.0 if jitter.grows_only else -jitter.ratio
    most = 0.0 if jitter.mode.startswith("shrink") else jitter.ratio
    factors = 1.0 + least + (most - least) * draws
    if "symmetric" in jitter.mode:
        # No further than to the nearer border of the image, or the centre would move by clipping.
        room = tf.math.divide_no_nan(tf.minimum(centre, size - centre), half)
        factors = factors[..., :2]
        if jitter.mode.endswith("_xy"):
            factors, room = factors[..., :1], tf.reduce_min(room, axis=-1, keepdims=True)
        factors = tf.minimum(factors, room)
        low, high = centre - half * factors, centre + half * factors
    else:
        low, high = centre - half * factors[..., :2], centre + half * factors[..., 2:]
    return tf.concat(
        [tf.clip_by_value(low, 0.0, size), tf.clip_by_value(high, 0.0, size)], axis=-1)


def annotation_draws(seed: int, annotation_id: int) -> np.ndarray:
    """Return [4] float64 in [0, 1), a function of the arguments alone, for ever.

    So each annotation is moved in the same direction at every ratio and in every trial, and curves
    over the ratio and differences between trials do not carry the noise of other draws.
    """
    bits = np.random.Philox(key=np.array([seed, annotation_id % 2**64], np.uint64))
    return (bits.random_raw(4) >> np.uint64(11)) * 2.0**-53
