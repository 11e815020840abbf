"""Preprocessing of images, shared by evaluation, prediction and export."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from official.vision.ops import preprocess_ops


def prepare_image(pixels: tf.Tensor, image_size: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Normalise an image, resize it to fit, and pad it below and to the right.

    Args:
        pixels: Image, [h, w, 3] uint8.
        image_size: Height and width of the model's input in pixels.

    Returns:
        [*image_size, 3] float32; and [4, 2] float32 with rows [original size, `image_size`, scale,
        offset] as (y, x).
    """
    size = list(image_size)
    image, info = preprocess_ops.resize_and_crop_image(
        preprocess_ops.normalize_image(pixels), size, size)
    return tf.ensure_shape(image, [*size, 3]), info
