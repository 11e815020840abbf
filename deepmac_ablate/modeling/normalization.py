"""Normalisation in mask heads that is not affected by padding.

The mask head runs on a fixed number of slots, some of which are empty. Keras normalises over all of
them, so upstream's statistics depend on the amount of padding in a batch. Given `valid`, the batch
normalisation here uses the valid slots only; otherwise it is that of Keras. Group normalisation
treats each slot separately.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Literal

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate.bindings.ranges import Channels, Epsilon, Share
from deepmac_ablate.errors import UserError

# Activations after a normalisation, by their names in `official.modeling.tf_utils.get_activation`.
Activation = Literal["relu", "relu6", "swish", "gelu", "identity"]


class HeadNorm(abc.ABC):
    """Builder of the normalisation layers of a mask head."""

    @abc.abstractmethod
    def build(self) -> tf_keras.layers.Layer:
        """Build a layer: ([n, h, w, c], valid=[n] bool or None, training) -> [n, h, w, c]."""


@gin.register(module="deepmac_ablate.modeling.normalization")
@dataclasses.dataclass(frozen=True)
class BatchNorm(HeadNorm):
    """Batch normalisation over the boxes of a batch, without padding (arXiv:1502.03167).

    Attributes:
        momentum: Share of the old value that a moving statistic keeps in each step.
        epsilon: Number that is added to the variance.
        synchronized: Whether statistics are taken over all replicas; if not, the results of a trial
            depend on the number of devices that share a batch.
    """

    momentum: Share = 0.99
    epsilon: Epsilon = 0.001
    synchronized: bool = True

    def build(self) -> tf_keras.layers.Layer:
        """Build a layer; see `HeadNorm.build`."""
        return MaskedBatchNormalization(self.momentum, self.epsilon, self.synchronized)


@gin.register(module="deepmac_ablate.modeling.normalization")
@dataclasses.dataclass(frozen=True)
class GroupNorm(HeadNorm):
    """Normalisation over groups of channels within each box (arXiv:1803.08494).

    Attributes:
        groups: Number of groups; must divide the number of channels of every layer.
        epsilon: Number that is added to the variance.
    """

    groups: Channels = 16
    epsilon: Epsilon = 1e-5

    def build(self) -> tf_keras.layers.Layer:
        """Build a layer; see `HeadNorm.build`."""
        return _GroupNormalization(self.groups, self.epsilon)


class _GroupNormalization(tf_keras.layers.Layer):
    """Keras layer in float32, with the call arguments of `MaskedBatchNormalization`."""

    def __init__(self, groups: int, epsilon: float) -> None:
        super().__init__(dtype="float32", autocast=False)
        self._groups = groups
        self.norm = tf_keras.layers.GroupNormalization(groups, epsilon=epsilon)

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the variables of the wrapped layer.

        Raises:
            UserError: If the number of channels is not divisible by the number of groups.
        """
        channels = input_shape[-1]
        if channels % self._groups:
            raise UserError(
                f"GroupNorm.groups = {self._groups} does not divide the {channels} channels of a "
                "layer of the mask head.")
        self.norm.build(input_shape)
        super().build(input_shape)

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """[n, h, w, c] -> [n, h, w, c] in the dtype of `inputs`."""
        del valid, training
        return tf.cast(self.norm(tf.cast(inputs, tf.float32)), inputs.dtype)


class MaskedBatchNormalization(tf_keras.layers.Layer):
    """Batch normalisation over the valid rows of a batch.

    Attributes:
        norm: Keras layer that holds the variables, and is called if no row is padding.
    """

    def __init__(self, momentum: float, epsilon: float, synchronized: bool) -> None:
        # Always float32, because statistics of bfloat16 sums would be too coarse.
        super().__init__(dtype="float32", autocast=False)
        self._synchronized = synchronized
        self.norm = tf_keras.layers.BatchNormalization(
            momentum=momentum, epsilon=epsilon, synchronized=synchronized
        )

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the variables of the wrapped layer."""
        self.norm.build(input_shape)
        super().build(input_shape)

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """Normalise.

        Args:
            inputs: Features, [n, h, w, c].
            valid: True for the rows to take statistics from, [n] bool; None for all rows.
            training: Whether to use, and update the moving averages with, statistics of the batch.

        Returns:
            [n, h, w, c] in the dtype of `inputs`. If no row is valid, the moving averages are used
            and stay unchanged.
        """
        # As in Keras, a layer that is not trained keeps its statistics.
        training = training and self.trainable
        if valid is None or not training:
            return self.norm(inputs, training=training)
        norm, add_up = self.norm, _sum_over_replicas if self._synchronized else list
        x = tf.cast(inputs, tf.float32)
        weight = tf.reshape(tf.cast(valid, tf.float32), [-1, 1, 1, 1])
        kept = x * weight
        positions = float(inputs.shape[1] * inputs.shape[2])
        count, total, squares = add_up([
            tf.reduce_sum(weight) * positions, tf.reduce_sum(kept, [0, 1, 2]),
            tf.reduce_sum(kept * x, [0, 1, 2])])
        some, number = count > 0.0, tf.maximum(count, 1.0)
        mean = total / number
        variance = tf.maximum(squares / number - tf.square(mean), 0.0)
        statistics = []
        for moving, value in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            old = tf.convert_to_tensor(moving)
            new = tf.where(some, value, old)
            moving.assign_add((new - old) * (1.0 - norm.momentum))
            statistics.append(new)
        return _normalize(
            inputs, tf.convert_to_tensor(norm.gamma), tf.convert_to_tensor(norm.beta),
            statistics[0], tf.math.rsqrt(statistics[1] + norm.epsilon), weight / number, add_up)


def _sum_over_replicas(values: list[tf.Tensor]) -> list[tf.Tensor]:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def _normalize(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    rate: tf.Tensor,
    share: tf.Tensor,
    add_up: Callable[[list[tf.Tensor]], list[tf.Tensor]],
) -> tf.Tensor:
    """Normalise by statistics of the same inputs.

    The gradient includes that of the statistics (arXiv:1502.03167, section 3). With automatic
    differentiation, a whole step with Hourglass-52 has 1.5 times as many operations, which take
    seconds to trace.

    Args:
        inputs: Features, [n, h, w, c].
        gamma: Scale, [c].
        beta: Shift, [c].
        mean: Mean of the inputs, [c].
        rate: 1 / √(variance + epsilon) of the inputs, [c].
        share: Share of a cell of each row in the statistics, [n, 1, 1, 1]; 0 for padding.
        add_up: Sums values over the replicas that share the statistics.
    """

    @tf.custom_gradient
    def normalize(
        inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        x, scale = tf.cast(inputs, tf.float32), rate * gamma
        outputs = tf.cast(x * scale + (beta - mean * scale), inputs.dtype)

        def gradient(of_outputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
            of_outputs = tf.cast(of_outputs, tf.float32)
            centred = x - mean
            of_beta = tf.reduce_sum(of_outputs, [0, 1, 2])
            products = tf.reduce_sum(of_outputs * centred, [0, 1, 2])
            every_beta, every_product = add_up([of_beta, products])
            through_statistics = every_beta + centred * (every_product * tf.square(rate))
            of_inputs = scale * (of_outputs - share * through_statistics)
            return tf.cast(of_inputs, inputs.dtype), products * rate, of_beta

        return outputs, gradient

    return normalize(inputs, gamma, beta)
