"""Mask inputs: further channels for a mask head, beside the features inside the box.

They work with every head. DeepMAC, the paper's detector without anchors, uses both
(arXiv:2104.00613; tensorflow/models, research/object_detection, `use_xy` and
`use_instance_embedding`).
"""

from __future__ import annotations

import abc

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate.bindings.ranges import Channels, Units


class MaskInput(tf_keras.layers.Layer, abc.ABC):
    """Further channels for the crops of a mask head."""

    @abc.abstractmethod
    def call(self, crops: tf.Tensor) -> tf.Tensor:
        """[n, s, s, c] features inside boxes -> [n, s, s, any number of channels]."""


@gin.register(module="deepmac_ablate.modeling.mask_inputs")
class Coordinates(MaskInput):
    """Two channels with the position of each cell in the box: y and x from -1 to 1."""

    def __init__(self) -> None:
        super().__init__(name="coordinates")

    def call(self, crops: tf.Tensor) -> tf.Tensor:
        """[n, s, s, c] -> [n, s, s, 2], the centres of the first and last cells at -1 and 1."""
        size = crops.shape[1]
        along = tf.cast(tf.linspace(-1.0, 1.0, size), crops.dtype)
        grid = tf.stack(tf.meshgrid(along, along, indexing="ij"), axis=-1)
        return tf.tile(grid[tf.newaxis], [tf.shape(crops)[0], 1, 1, 1])


@gin.register(module="deepmac_ablate.modeling.mask_inputs")
class InstanceEmbedding(MaskInput):
    """Embedding of the features at the centre of the box, repeated in every cell."""

    def __init__(self, dim: Channels = 32, hidden: Units = 256) -> None:
        """Create the layers.

        Args:
            dim: Number of channels of the embedding.
            hidden: Number of units of the layer between features and embedding.
        """
        super().__init__(name="instance_embedding")
        self.hidden = tf_keras.layers.Dense(hidden, activation="relu")
        self.embedding = tf_keras.layers.Dense(dim)

    def call(self, crops: tf.Tensor) -> tf.Tensor:
        """[n, s, s, c] -> [n, s, s, dim], the same in every cell of a box."""
        size = crops.shape[1]
        # The middle cell of an odd crop; the mean of the four middle cells of an even one.
        middle = slice((size - 1) // 2, size // 2 + 1)
        centre = tf.reduce_mean(crops[:, middle, middle], axis=[1, 2])
        embedding = self.embedding(self.hidden(centre))
        return tf.tile(embedding[:, tf.newaxis, tf.newaxis], [1, size, size, 1])
