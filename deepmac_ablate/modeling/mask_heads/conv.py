"""Mask R-CNN's original mask head, and a variant with separable convolutions."""

from __future__ import annotations

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate.bindings.ranges import Channels, Layers, Side
from deepmac_ablate.modeling.initializers import fan_out
from deepmac_ablate.modeling.mask_heads.base import FullyConvolutionalMaskHead
from deepmac_ablate.modeling.mask_heads.upsampling import Upsampling
from deepmac_ablate.modeling.normalization import Activation, BatchNorm, HeadNorm


@gin.register(module="deepmac_ablate.modeling.mask_heads")
class ConvMaskHead(FullyConvolutionalMaskHead):
    """Mask R-CNN's original head: a stack of 3x3 convolutions (arXiv:1703.06870, figure 4)."""

    def __init__(
        self,
        num_convs: Layers = 4,
        width: Channels = 256,
        crop_size: Side = 14,
        upsampling: Upsampling | None = None,
        class_agnostic: bool = True,
        norm: HeadNorm | None = None,
        activation: Activation = "relu",
    ) -> None:
        """Store the settings.

        Args:
            num_convs: Number of convolutions before the up-sampling.
            width: Number of channels of the convolutions and of the up-sampling.
            crop_size: Side of the feature crop, in cells.
            upsampling: Up-sampling from the size of the crop to that of the mask; None for
                `Deconvolution()`.
            class_agnostic: Whether one mask is used for all classes.
            norm: Normalisation after each convolution; None for `BatchNorm()`.
            activation: Activation after each normalisation.
        """
        norm = norm or BatchNorm()
        super().__init__(
            crop_size=crop_size, width=width, upsampling=upsampling,
            class_agnostic=class_agnostic, norm=norm, activation=activation)
        self._num_convs = num_convs
        self._body_norm = norm

    def build_body(self) -> None:
        """Create the convolutions."""
        self.convs = [self.build_conv(i) for i in range(self._num_convs)]
        self.norms = [self._body_norm.build() for _ in range(self._num_convs)]

    def build_conv(self, number: int) -> tf_keras.layers.Layer:
        """Create one convolution, numbered from 0: [n, s, s, c] -> [n, s, s, width]."""
        return tf_keras.layers.Conv2D(
            self.width, 3, padding="same", name=f"mask-conv_{number}",
            kernel_initializer=fan_out(), kernel_regularizer=self.regularizer)

    def body(self, features: tf.Tensor, valid: tf.Tensor | None, training: bool) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, crop, crop, width]."""
        x = features
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.activation(norm(conv(x), valid=valid, training=training))
        return x


@gin.register(module="deepmac_ablate.modeling.mask_heads")
class SeparableConvMaskHead(ConvMaskHead):
    """ConvMaskHead with separable convolutions, also for the logits (arXiv:1610.02357)."""

    def build_conv(self, number: int) -> tf_keras.layers.Layer:
        """Create one convolution, numbered from 0: [n, s, s, c] -> [n, s, s, width]."""
        return self._separable(self.width, 3, f"mask-conv_{number}")

    def build_logits(self) -> tf_keras.layers.Layer:
        """Create the layer from the up-sampled features to one channel per mask."""
        return self._separable(self.masks_per_box, 1, "mask-logits")

    def _separable(self, filters: int, kernel_size: int, name: str) -> tf_keras.layers.Layer:
        return tf_keras.layers.SeparableConv2D(
            filters, kernel_size, padding="same", name=name,
            depthwise_initializer=fan_out(), pointwise_initializer=fan_out(),
            depthwise_regularizer=self.regularizer, pointwise_regularizer=self.regularizer)
