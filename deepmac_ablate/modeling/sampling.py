"""Stateless random sampling with static shapes.

Model Garden's samplers use TensorFlow's stateful generators, whose state is not in checkpoints: a
resumed run would draw other anchors and regions than an uninterrupted one. Here every draw is a
function of its seed, and no shape depends on data, so that everything compiles for a TPU too.
"""

from __future__ import annotations

import tensorflow as tf


def uniform(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw float32 numbers from the open interval (0, 1), the same for a seed on every device.

    TensorFlow's stateless generators give different numbers under XLA, whatever the algorithm. Here
    each number is a hash of its position and the seed, in integer arithmetic.

    Args:
        shape: Shape of the result, of fewer than 2**31 numbers.
        seed: Seed, [2] integers; or [b, 2], one for each of b equal parts of the result, such as
            the images of a batch, whose draws then do not depend on each other.
    """
    first, second = tf.unstack(_keys(tf.reshape(seed, [-1, 1, 2])), axis=-1)
    position = tf.cast(tf.range(tf.reduce_prod(shape) // tf.shape(first)[0]), tf.uint32)
    bits = _mix(_mix(tf.bitwise.bitwise_xor(position, first)) + second)
    # 23 bits plus one half: a float32 represents each of these numbers exactly.
    draws = (tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), tf.float32) + 0.5)
    return tf.reshape(draws * 2.0**-23, shape)


def fold_in(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Return seeds, [..., 2] int32, whose draws are independent of those for other numbers.

    The number is not simply added: the first layer of a trial with seed 1 would draw the same as
    the second layer with seed 0.

    Args:
        seed: Seeds, [..., 2] integers.
        number: Number to combine with the seeds, at least 0.
    """
    first, second = tf.unstack(_keys(seed), axis=-1)
    own = _mix(tf.constant(number + 1, tf.uint32))
    return tf.bitcast(tf.stack([tf.bitwise.bitwise_xor(first, own), second], axis=-1), tf.int32)


def _keys(seed: tf.Tensor) -> tf.Tensor:
    """Return two words, [..., 2] uint32, each of which depends on both numbers of a seed."""
    one, other = tf.unstack(tf.bitcast(tf.cast(seed, tf.int32), tf.uint32), axis=-1)
    first = _mix(_mix(one) + other)
    return tf.stack([first, _mix(first + tf.constant(0x9E3779B9, tf.uint32))], axis=-1)


def _mix(x: tf.Tensor) -> tf.Tensor:
    """Mix the bits of uint32 numbers, one to one.

    The hash with the least bias that https://github.com/skeeto/hash-prospector found: three
    shifts, two products.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        x = x * tf.constant(factor, tf.uint32)
    return x


def balanced_priorities(
    positive: tf.Tensor, negative: tf.Tensor, num_samples: int, positive_fraction: float,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Rank candidates for a sample with a bounded share of positives.

    Args:
        positive: True for candidates that may be drawn as positives, [b, n] bool.
        negative: True for candidates that may be drawn as negatives, [b, n] bool.
        num_samples: Number of samples per row.
        positive_fraction: Largest share of positives; their number is rounded down. Negatives make
            up the rest, which may be fewer than needed.
        seed: Seed; see `uniform`.

    Returns:
        Priorities, [b, n] float32. The sample consists of the `num_samples` highest; those of at
        least 2 are drawn by the rule above. Lower ones are surplus positives, then all other
        candidates, with which a caller that needs exactly `num_samples` fills up the sample.
    """
    random = uniform(tf.shape(positive), seed)
    max_positives = min(int(num_samples * positive_fraction), positive.shape[-1])
    if max_positives:
        among_positives = tf.where(positive, random, -1.0)
        smallest_drawn = tf.math.top_k(among_positives, k=max_positives).values[:, -1:]
        drawn = positive & (among_positives >= smallest_drawn)
    else:
        drawn = tf.zeros_like(positive)
    floor = tf.where(drawn, 3.0, tf.where(negative, 2.0, tf.where(positive, 1.0, 0.0)))
    return floor + random


def sample_indices(priorities: tf.Tensor, num_samples: int) -> tf.Tensor:
    """Return the indices of the highest priorities, [b, num_samples] int32."""
    return tf.math.top_k(priorities, k=num_samples).indices


def sample_mask(priorities: tf.Tensor, num_samples: int) -> tf.Tensor:
    """Return a mask of the candidates drawn by `balanced_priorities`, without filling, [b, n]."""
    num_samples = min(num_samples, priorities.shape[-1])
    smallest = tf.math.top_k(priorities, k=num_samples).values[:, -1:]
    return (priorities >= smallest) & (priorities >= 2.0)
