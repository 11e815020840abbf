"""Jitter of boxes, in training and in evaluation; `box_jitter` defines the modes."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deepmac_ablate.box_jitter import Jitter


def jitter_boxes(
    boxes: tf.Tensor, draws: tf.Tensor, jitter: Jitter, image_size: tf.types.experimental.TensorLike
) -> tf.Tensor:
    """Move the edges of boxes.

    Args:
        boxes: Boxes inside the image, [..., 4] floats, [ymin, xmin, ymax, xmax].
        draws: Uniform draws in 0..1, [..., 4] of the same type, one for each edge in this order;
            the symmetric modes use the first for the height and the second for the width, or the
            first for both.
        jitter: Ratio and mode.
        image_size: Height and width of the image in the unit of the boxes, [2], or for each box,
            [..., 2].

    Returns:
        Boxes inside the image, [..., 4]; height and width stay positive if they were.
    """
    size = tf.constant(image_size, boxes.dtype)
    low, high = boxes[..., :2], boxes[..., 2:]
    centre, half = (low + high) / 2, (high - low) / 2
    least = 0.0 if jitter.grows_only else -jitter.ratio
    most = 0.0 if jitter.mode.startswith("shrink") else jitter.ratio
    factors = 1.0 + least + (most - least) * draws
    if "symmetric" in jitter.mode:
        # Growth ends at the nearer border of the image, since clipping would move the centre.
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
    """Return [4] float64 in [0, 1) that depend on the arguments alone, in every version.

    So each annotation is moved in the same direction at every ratio and in every trial: neither
    curves over the ratio nor differences between trials contain noise from different draws.
    """
    bits = np.random.Philox(key=np.array([seed, annotation_id % 2**64], np.uint64))
    return (bits.random_raw(4) >> np.uint64(11)) * 2.0**-53
