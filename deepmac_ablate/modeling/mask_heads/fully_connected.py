"""Mask head of fully connected layers: each pixel depends on every feature of the crop."""

from __future__ import annotations

import gin
import tensorflow as tf
import tf_keras
from official.modeling import tf_utils

from deepmac_ablate.bindings.ranges import Channels, Layers, Side, Units
from deepmac_ablate.modeling.mask_heads.base import MaskHead
from deepmac_ablate.modeling.normalization import Activation


@gin.register(module="deepmac_ablate.modeling.mask_heads")
class FullyConnectedMaskHead(MaskHead):
    """A 1x1 convolution and fully connected layers, the last with one unit per mask pixel.

    The least local of the heads of arXiv:2104.00613; the paper's published code contains it but
    fails to build it.
    """

    def __init__(
        self,
        width: Channels = 64,
        num_fcs: Layers = 1,
        fc_dims: Units = 1024,
        crop_size: Side = 32,
        mask_size: Side = 32,
        class_agnostic: bool = True,
        activation: Activation = "relu",
    ) -> None:
        """Store the settings.

        Args:
            width: Number of channels of the 1x1 convolution.
            num_fcs: Number of fully connected layers before the last.
            fc_dims: Number of units of each of these layers.
            crop_size: Side of the feature crop, in cells.
            mask_size: Side of the mask, in cells; independent of `crop_size`.
            class_agnostic: Whether one mask is used for all classes.
            activation: Activation after each fully connected layer except the last.
        """
        super().__init__(
            crop_size=crop_size, mask_size=mask_size, class_agnostic=class_agnostic)
        self._width = width
        self._num_fcs = num_fcs
        self._fc_dims = fc_dims
        self._activation = tf_utils.get_activation(activation)

    def build_layers(self) -> None:
        """Create the layers."""
        self.stem = tf_keras.layers.Conv2D(self._width, 1, kernel_regularizer=self.regularizer)
        self.fcs = [
            tf_keras.layers.Dense(self._fc_dims, kernel_regularizer=self.regularizer)
            for _ in range(self._num_fcs)]
        self.logits = tf_keras.layers.Dense(
            self.mask_size**2 * self.masks_per_box, kernel_regularizer=self.regularizer,
            name="mask-logits")

    def predict_logits(
        self, features: tf.Tensor, valid: tf.Tensor | None, training: bool
    ) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, mask_size, mask_size, masks_per_box]."""
        del valid, training
        x = tf.reshape(self.stem(features), [-1, self.crop_size**2 * self._width])
        for fc in self.fcs:
            x = self._activation(fc(x))
        return tf.reshape(
            self.logits(x), [-1, self.mask_size, self.mask_size, self.masks_per_box])
