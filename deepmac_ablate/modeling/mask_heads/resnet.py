"""Residual mask heads: as deep as an hourglass, but entirely at the resolution of the crop."""

from __future__ import annotations

from typing import Annotated

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate.bindings.ranges import Range, Side
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.mask_heads.base import FullyConvolutionalMaskHead, Regularizer
from deepmac_ablate.modeling.mask_heads.upsampling import Upsampling
from deepmac_ablate.modeling.normalization import Activation, BatchNorm, HeadNorm

# Depth -> for each stack, the number of blocks and their channels as a multiple of `width`, as in
# the paper's code (tensorflow/models, research/object_detection, DeepMAC's `ResNetMaskNetwork`).
# Depth 20 is about as wide as Hourglass-20.
STACKS: dict[int, tuple[tuple[int, int], ...]] = {
    4: ((2, 2),),
    8: ((4, 2),),
    12: ((6, 2),),
    16: ((8, 2),),
    20: ((8, 2), (2, 3)),
}


@gin.register(module="deepmac_ablate.modeling.mask_heads")
class ResNetMaskHead(FullyConvolutionalMaskHead):
    """Residual head of 4 to 20 layers, which arXiv:2104.00613 compares with hourglasses."""

    def __init__(
        self,
        depth: int = 20,
        width: Annotated[int, Range(1, 1024)] = 64,
        crop_size: Side = 32,
        upsampling: Upsampling | None = None,
        class_agnostic: bool = True,
        norm: HeadNorm | None = None,
        activation: Activation = "relu",
    ) -> None:
        """Store the settings.

        Args:
            depth: Number of 3x3 convolutions: 4, 8, 12, 16 or 20.
            width: Number of channels of the first (1x1) convolution and of the up-sampling; blocks
                have two or three times as many.
            crop_size: Side of the feature crop, in cells.
            upsampling: Up-sampling from the size of the crop to that of the mask; None for
                `Deconvolution()`.
            class_agnostic: Whether one mask is used for all classes.
            norm: Normalisation of blocks and up-sampling; None for `BatchNorm()`.
            activation: Activation after each normalisation.

        Raises:
            UserError: If the depth is unknown.
        """
        if depth not in STACKS:
            known = ", ".join(str(d) for d in STACKS)
            raise UserError(f"ResNetMaskHead.depth = {depth} is not a known depth: {known}.")
        norm = norm or BatchNorm()
        super().__init__(
            crop_size=crop_size, width=width, upsampling=upsampling,
            class_agnostic=class_agnostic, norm=norm, activation=activation)
        self._stacks = STACKS[depth]
        self._body_norm = norm

    def build_body(self) -> None:
        """Create the blocks."""
        self.stem = tf_keras.layers.Conv2D(self.width, 1, kernel_regularizer=self.regularizer)
        self.blocks = [
            _Block(multiplier * self.width, self._body_norm, self.activation, self.regularizer,
                   project=i == 0)
            for count, multiplier in self._stacks for i in range(count)
        ]

    def body(self, features: tf.Tensor, valid: tf.Tensor | None, training: bool) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, crop, crop, width of the last block]."""
        x = self.stem(features)
        for block in self.blocks:
            x = block(x, valid=valid, training=training)
        return x


class _Block(tf_keras.layers.Layer):
    """Normalisation and activation, then two 3x3 convolutions with both, beside a shortcut."""

    def __init__(
        self, filters: int, norm: HeadNorm, activation: tf_keras.layers.Layer,
        regularizer: Regularizer | None, project: bool,
    ) -> None:
        super().__init__()
        self._activation = activation
        self.norms = [norm.build() for _ in range(3)]
        self.convs = [
            tf_keras.layers.Conv2D(
                filters, 3, padding="same", use_bias=False, kernel_regularizer=regularizer)
            for _ in range(2)]
        self.project = tf_keras.layers.Conv2D(
            filters, 1, kernel_regularizer=regularizer) if project else None

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """[n, h, w, c] -> [n, h, w, filters]."""

        def normed(x: tf.Tensor, i: int) -> tf.Tensor:
            return self._activation(self.norms[i](x, valid=valid, training=training))

        first = normed(inputs, 0)
        x = normed(self.convs[0](first), 1)
        x = normed(self.convs[1](x), 2)
        return x + (inputs if self.project is None else self.project(first))
