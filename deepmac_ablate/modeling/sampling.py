"""Random choice with static shapes and without state.

Model Garden's samplers shuffle with TensorFlow's stateful generators, whose position no checkpoint
holds: a resumed run would draw other anchors and regions than the run that was not interrupted.
Here every draw is a function of its seed, and nothing has a data-dependent shape, so it compiles
for a TPU too.
"""

from __future__ import annotations

import tensorflow as tf


def uniform(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw float32 numbers from (0, 1), never 0 or 1, the same for a seed wherever it runs.

    TensorFlow's stateless generators give other numbers under XLA than elsewhere, whatever the
    algorithm. Here each number is a hash of its position and the seed, in integer arithmetic.

    Args:
        shape: of the result; fewer than 2**31 numbers.
        seed: [2] integers, or [b, 2], one for each of b equal parts of the result: for each image
            of a batch, whose draws then do not depend on what else is in the batch.
    """
    first, second = tf.unstack(_keys(tf.reshape(seed, [-1, 1, 2])), axis=-1)
    position = tf.cast(tf.range(tf.reduce_prod(shape) // tf.shape(first)[0]), tf.uint32)
    bits = _mix(_mix(tf.bitwise.bitwise_xor(position, first)) + second)
    # 23 bits and a half: a float32 holds each of these numbers exactly.
    draws = (tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), tf.float32) + 0.5)
    return tf.reshape(draws * 2.0**-23, shape)


def fold_in(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Return seeds [..., 2] int32 whose draws have nothing to do with those of other numbers.

    Not by adding: the first layer of the trial with seed 1 would draw as the second of seed 0.

    Args:
        seed: [..., 2] integers.
        number: at least 0.
    """
    first, second = tf.unstack(_keys(seed), axis=-1)
    own = _mix(tf.constant(number + 1, tf.uint32))
    return tf.bitcast(tf.stack([tf.bitwise.bitwise_xor(first, own), second], axis=-1), tf.int32)


def _keys(seed: tf.Tensor) -> tf.Tensor:
    """Return two words [..., 2] uint32, each of which depends on both numbers of a seed."""
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
        positive: [b, n] bool, the candidates that may be drawn as positives.
        negative: [b, n] bool, those that may be drawn as negatives.
        num_samples: how many are wanted per row.
        positive_fraction: at most this share of them, rounded down, are positives; negatives fill
            the rest, and are fewer than wanted when there are not enough of them.
        seed: as `uniform` takes it; the same seed gives the same ranks.

    Returns:
        [b, n] float32. The sample are the `num_samples` highest; among them, those >= 2 were drawn
        by the rule above. Below 2 come surplus positives, then everything else, which a caller that
        needs exactly `num_samples` takes as filling.
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
    """Return the [b, num_samples] int32 indices of the highest priorities."""
    return tf.math.top_k(priorities, k=num_samples).indices


def sample_mask(priorities: tf.Tensor, num_samples: int) -> tf.Tensor:
    """Return [b, n] bool: which candidates `balanced_priorities` drew (never filling)."""
    num_samples = min(num_samples, priorities.shape[-1])
    smallest = tf.math.top_k(priorities, k=num_samples).values[:, -1:]
    return (priorities >= smallest) & (priorities >= 2.0)
