"""ROIAlign over a feature pyramid for boxes that are pooled over the images of a replica.

Model Garden's aligner takes the same number of boxes from every image. The mask head runs on a pool
of boxes from any of the images, so each box comes with the index of its image. Level assignment,
sample positions and border treatment are Model Garden's (FPN, arXiv:1612.03144 section 4.2;
ROIAlign, arXiv:1703.06870 figure 3, one sample per bin); a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf


def crop_features(
    features: Mapping[str, tf.Tensor],
    boxes: tf.Tensor,
    image_index: tf.Tensor,
    crop_size: int,
    sample_offset: float = 0.5,
) -> tf.Tensor:
    """Crop features inside boxes.

    Args:
        features: Feature pyramid, level -> [b, h, w, c]; level l has a stride of 2**l pixels.
        boxes: Boxes in pixels of the image, [n, 4] float32.
        image_index: Index in the batch of the image of each box, [n] int32.
        crop_size: Side of the crops.
        sample_offset: Position in each bin of its one sample, in [0, 1].

    Returns:
        [n, crop_size, crop_size, c] in the features' dtype.
    """
    levels = sorted(int(level) for level in features)
    shapes = [features[str(level)].shape.as_list() for level in levels]
    heights = np.array([shape[1] for shape in shapes])
    widths = np.array([shape[2] for shape in shapes])
    channels = shapes[0][3]
    starts = np.concatenate([[0], np.cumsum(heights * widths)[:-1]])
    pixels_per_image = int(np.sum(heights * widths))
    # [b * all positions of all levels, c]: one gather for all images and levels.
    flat = tf.reshape(
        tf.concat([tf.reshape(features[str(level)], [-1, h * w, channels])
                   for level, h, w in zip(levels, heights, widths, strict=True)], axis=1),
        [-1, channels],
    )

    boxes = tf.cast(boxes, tf.float32)
    level = _level_of(boxes, levels[0], levels[-1])
    row = level - levels[0]
    scale = tf.pow(2.0, tf.cast(level, tf.float32))[:, tf.newaxis]
    origin, size = boxes[:, :2] / scale, (boxes[:, 2:] - boxes[:, :2]) / scale
    at = (tf.range(crop_size, dtype=tf.float32) + sample_offset) / crop_size
    y0, y1, dy = _neighbours(origin[:, :1] + at * size[:, :1], tf.gather(heights, row))
    x0, x1, dx = _neighbours(origin[:, 1:] + at * size[:, 1:], tf.gather(widths, row))

    start = tf.cast(image_index, tf.int32) * pixels_per_image + tf.gather(
        tf.constant(starts, tf.int32), row)
    stride = tf.gather(tf.constant(widths, tf.int32), row)

    def corner(y: tf.Tensor, x: tf.Tensor, weight_y: tf.Tensor, weight_x: tf.Tensor) -> tf.Tensor:
        index = ((start[:, tf.newaxis] + y * stride[:, tf.newaxis])[:, :, tf.newaxis]
                 + x[:, tf.newaxis, :])
        weight = (weight_y[:, :, tf.newaxis] * weight_x[:, tf.newaxis, :])[..., tf.newaxis]
        return tf.gather(flat, index) * tf.cast(weight, flat.dtype)

    return (corner(y0, x0, 1 - dy, 1 - dx) + corner(y0, x1, 1 - dy, dx)
            + corner(y1, x0, dy, 1 - dx) + corner(y1, x1, dy, dx))


def _level_of(boxes: tf.Tensor, min_level: int, max_level: int) -> tf.Tensor:
    """Return the pyramid level for the size of each box (level 4 for a 224-pixel box)."""
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    # Padding boxes have no area; their level does not matter, but it must not be NaN.
    side = tf.maximum(tf.sqrt(tf.maximum(height * width, 0.0)), 1e-6)
    level = tf.math.floordiv(tf.math.log(side / 224.0), tf.math.log(2.0)) + 4.0
    return tf.cast(tf.clip_by_value(level, float(min_level), float(max_level)), tf.int32)


def _neighbours(
    position: tf.Tensor, extent: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the two grid lines around each [n, s] position and the weight of the second."""
    last = tf.cast(extent, tf.float32)[:, tf.newaxis] - 1.0
    lower = tf.minimum(tf.maximum(tf.floor(position), 0.0), last)
    upper = tf.minimum(lower + 1.0, last)
    return tf.cast(lower, tf.int32), tf.cast(upper, tf.int32), position - lower
