"""Preprocessing of images and masks: for evaluation, prediction and export, and for training."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from official.vision.ops import preprocess_ops


def prepare_image(pixels: tf.Tensor, image_size: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Normalise an image, resize it to fit, and pad it below and to the right.

    Gives the same numbers as Model Garden's `resize_and_crop_image`, which fails on strips.

    Args:
        pixels: Image, [h, w, 3] uint8.
        image_size: Height and width of the model's input in pixels.

    Returns:
        [*image_size, 3] float32; and [4, 2] float32 with rows [original size, `image_size`, scale,
        offset] as (y, x).
    """
    original = tf.cast(tf.shape(pixels)[:2], tf.float32)
    wanted = tf.constant(image_size, tf.float32)
    scaled = fit_size(original, wanted)
    image = tf.image.resize(preprocess_ops.normalize_image(pixels), tf.cast(scaled, tf.int32))
    image = tf.image.pad_to_bounding_box(image, 0, 0, *image_size)
    info = tf.stack([original, wanted, scaled / original, tf.zeros_like(wanted)])
    return tf.ensure_shape(image, [*image_size, 3]), info


def fit_size(original: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Return the largest size with the original proportions that fits into a limit.

    Args:
        original: Height and width, [2] float32.
        limit: Largest height and width, [2] float32.

    Returns:
        [2] float32, whole numbers of at least 1: a strip, which would have no height or no width,
        is scaled less in that direction.
    """
    return tf.maximum(tf.round(original * tf.reduce_min(limit / original)), 1.0)


def mirror_image(image: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Mirror an image, [h, w, c] or [h, w], horizontally if `mirrored` is true."""
    # Not image[:, ::-1], whose kernel takes fifty times as long.
    dims = [False, mirrored, False][: image.shape.rank]
    return tf.raw_ops.Reverse(tensor=image, dims=tf.stack(dims))


def normalize_image(image: tf.Tensor) -> tf.Tensor:
    """Return Model Garden's `normalize_image` of an image, [h, w, 3] uint8.

    Rows are treated as vectors: an operation on three channels at a time takes four times as long.
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    mean, deviation = (
        tf.tile(tf.constant(x, tf.float32), [width])
        for x in (preprocess_ops.MEAN_NORM, preprocess_ops.STDDEV_NORM))
    rows = tf.image.convert_image_dtype(tf.reshape(image, [height, width * 3]), tf.float32)
    return tf.reshape((rows - mean) / deviation, [height, width, 3])


def has_object(mask: tf.Tensor) -> tf.Tensor:
    """Return whether a mask of zeros and ones, of uint8, has a one; eight pixels at a time."""
    flat = tf.reshape(mask, [-1])
    eights = tf.size(flat) // 8
    most = tf.bitcast(tf.reshape(flat[: eights * 8], [-1, 8]), tf.int64)
    return (tf.reduce_max(most) > 0) | (tf.reduce_max(flat[eights * 8 :]) > 0)


def choose_instances(number: tf.Tensor, most: int, seed: tf.Tensor) -> tf.Tensor:
    """Return the indices of all instances, or of a random choice of `most` if there are more.

    Args:
        number: Number of instances.
        most: Largest number to choose.
        seed: Seed of the choice, [2] integers; draws from the seed itself are independent of it.

    Returns:
        [min(number, most)] int32, ascending.
    """
    draws = tf.random.stateless_uniform(
        [number], tf.random.experimental.stateless_fold_in(seed, 1))
    return tf.sort(tf.math.top_k(draws, tf.minimum(number, most)).indices)


def crop_mask(mask: tf.Tensor, box: tf.Tensor, size: int) -> tf.Tensor:
    """Sample a mask on a grid over its box, with aligned corners, as upstream's parser does.

    Gives the same numbers as `tf.image.crop_and_resize`, which prints a warning to stderr for
    images of unknown size.

    Args:
        mask: Mask, [h, w], 0 or 1.
        box: Box, [4] float32, relative to the image size.
        size: Side of the grid.

    Returns:
        [size, size] float32.
    """
    last = tf.cast(tf.shape(mask), tf.float32) - 1.0
    (top, left), (height, width) = (
        tf.unstack(x) for x in (box[:2] * last, (box[2:] - box[:2]) * last))
    transform = tf.stack([width / (size - 1), 0.0, left, 0.0, height / (size - 1), top, 0.0, 0.0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(mask, tf.float32)[tf.newaxis, ..., tf.newaxis],
        transforms=transform[tf.newaxis], output_shape=[size, size], fill_value=0.0,
        interpolation="BILINEAR", fill_mode="CONSTANT")[0, ..., 0]
