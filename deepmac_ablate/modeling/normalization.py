"""Normalisation in mask heads, which a padding slot cannot touch.

The mask branch runs on a fixed number of slots of which some are empty. Keras normalises over all
of them; upstream's statistics therefore depend on how much padding a batch happens to hold. Given
`valid`, batch normalisation takes its statistics from the valid slots alone; without it, it is
Keras's. Group normalisation knows one slot at a time.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Literal

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate.errors import UserError, check_at_least

# What may follow a normalisation, by the names of `official.modeling.tf_utils.get_activation`.
Activation = Literal["relu", "relu6", "swish", "gelu", "identity"]


class HeadNorm(abc.ABC):
    """Makes the normalisation layers of a mask head."""

    @abc.abstractmethod
    def build(self) -> tf_keras.layers.Layer:
        """Build a layer: ([n, h, w, c], valid=[n] bool or None, training) -> [n, h, w, c]."""


@gin.register(module="deepmac_ablate.modeling.normalization")
@dataclasses.dataclass(frozen=True)
class BatchNorm(HeadNorm):
    """Batch normalisation over the boxes of a batch (arXiv:1502.03167), padding left out.

    Attributes:
        momentum: share of the old value that a moving statistic keeps per step.
        epsilon: added to the variance.
        synchronized: whether statistics are taken over all replicas; if not, what a trial computes
            depends on how many devices share a batch.
    """

    momentum: float = 0.99
    epsilon: float = 0.001
    synchronized: bool = True

    def build(self) -> tf_keras.layers.Layer:
        """Build a layer; see `HeadNorm.build`."""
        return MaskedBatchNormalization(self.momentum, self.epsilon, self.synchronized)


@gin.register(module="deepmac_ablate.modeling.normalization")
@dataclasses.dataclass(frozen=True)
class GroupNorm(HeadNorm):
    """Normalisation over groups of channels of one box (arXiv:1803.08494); no box sees another.

    Attributes:
        groups: how many groups the channels are divided into.
        epsilon: added to the variance.
    """

    groups: int = 16
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_at_least(1, GroupNorm__groups=self.groups)

    def build(self) -> tf_keras.layers.Layer:
        """Build a layer; see `HeadNorm.build`."""
        return _GroupNormalization(self.groups, self.epsilon)


class _GroupNormalization(tf_keras.layers.Layer):
    """Keras's layer in float32, under the arguments of a masked one."""

    def __init__(self, groups: int, epsilon: float) -> None:
        super().__init__(dtype="float32", autocast=False)
        self._groups = groups
        self.norm = tf_keras.layers.GroupNormalization(groups, epsilon=epsilon)

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the variables of the wrapped layer.

        Raises:
            UserError: if the channels do not divide into the groups.
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
        norm: the Keras layer that holds the variables and does the work where no row is padding.
    """

    def __init__(self, momentum: float, epsilon: float, synchronized: bool) -> None:
        # float32 whatever the policy: statistics of bfloat16 sums would be rough.
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
            inputs: [n, h, w, c].
            valid: [n] bool, the rows that statistics are taken from; None: all.
            training: whether statistics come from the batch (and are remembered).

        Returns:
            [n, h, w, c] in the dtype of `inputs`. With no valid row at all, the remembered
            statistics are used and stay as they are.
        """
        if valid is None or not training:
            return self.norm(inputs, training=training)
        x = tf.cast(inputs, tf.float32)
        weight = tf.cast(valid, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        positions = float(inputs.shape[1] * inputs.shape[2])
        count = tf.reduce_sum(weight) * positions
        total = tf.reduce_sum(x * weight, axis=[0, 1, 2])
        squares = tf.reduce_sum(tf.square(x) * weight, axis=[0, 1, 2])
        if self._synchronized:
            context = tf.distribute.get_replica_context()
            count, total, squares = context.all_reduce(
                tf.distribute.ReduceOp.SUM, [count, total, squares]
            )
        mean = total / tf.maximum(count, 1.0)
        variance = tf.maximum(squares / tf.maximum(count, 1.0) - tf.square(mean), 0.0)
        norm = self.norm
        some = count > 0.0
        mean = tf.where(some, mean, norm.moving_mean)
        variance = tf.where(some, variance, norm.moving_variance)
        for moving, value in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            moving.assign_add((value - moving) * (1.0 - norm.momentum))
        scale = tf.math.rsqrt(variance + norm.epsilon) * norm.gamma
        return tf.cast(x * scale + (norm.beta - mean * scale), inputs.dtype)
