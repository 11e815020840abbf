"""Up-sampling in mask heads, from the size of the crop to the size of the mask."""

from __future__ import annotations

import abc
import dataclasses
from typing import Annotated, Literal

import gin
import numpy as np
import tensorflow as tf
import tf_keras
from official.vision.ops import spatial_transform_ops

from deepmac_ablate.bindings.ranges import Range
from deepmac_ablate.modeling.initializers import fan_out

Regularizer = tf_keras.regularizers.Regularizer


class Upsampling(abc.ABC):
    """Builder of the layer between a head's body and its logits.

    Attributes:
        factor: Ratio of the side of the mask to that of the crop.
    """

    factor: int

    @abc.abstractmethod
    def build(self, width: int, regularizer: Regularizer | None) -> tf_keras.layers.Layer:
        """Build the layer: [n, s, s, c] -> [n, s * factor, s * factor, width]."""


@gin.register(module="deepmac_ablate.modeling.mask_heads")
@dataclasses.dataclass(frozen=True)
class Deconvolution(Upsampling):
    """Transposed convolution whose kernel is as large as its stride (arXiv:1703.06870 figure 4).

    Each cell becomes factor x factor cells that do not depend on neighbouring cells.

    Attributes:
        factor: Ratio of the side of the mask to that of the crop.
    """

    factor: Annotated[int, Range(1, 32)] = 2

    def build(self, width: int, regularizer: Regularizer | None) -> tf_keras.layers.Layer:
        """Build the layer; see `Upsampling.build`."""
        return tf_keras.layers.Conv2DTranspose(
            width, kernel_size=self.factor, strides=self.factor, kernel_initializer=fan_out(),
            kernel_regularizer=regularizer, name="mask-upsampling")


@gin.register(module="deepmac_ablate.modeling.mask_heads")
@dataclasses.dataclass(frozen=True)
class Interpolation(Upsampling):
    """Interpolation followed by a 3x3 convolution, which avoids checkerboard artifacts.

    Attributes:
        factor: Ratio of the side of the mask to that of the crop; with 1 there is only the
            convolution.
        method: Interpolation method.
    """

    factor: Annotated[int, Range(1, 32)] = 2
    method: Literal["bilinear", "nearest"] = "bilinear"

    def build(self, width: int, regularizer: Regularizer | None) -> tf_keras.layers.Layer:
        """Build the layers; see `Upsampling.build`."""
        return _InterpolatedConv(width, self.factor, self.method, regularizer)


class _InterpolatedConv(tf_keras.layers.Layer):
    """Interpolation, then a convolution."""

    def __init__(
        self, width: int, factor: int, method: str, regularizer: Regularizer | None
    ) -> None:
        super().__init__(name="mask-upsampling")
        self._factor = factor
        self._method = method
        self.conv = tf_keras.layers.Conv2D(
            width, 3, padding="same", kernel_initializer=fan_out(), kernel_regularizer=regularizer)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """[n, s, s, c] -> [n, s * factor, s * factor, width]."""
        if self._factor == 1:
            return self.conv(inputs)
        if self._method == "nearest":
            # A reshape: nearest-neighbour resizing has no gradient under XLA on some devices.
            return self.conv(spatial_transform_ops.nearest_upsampling(inputs, self._factor))
        along_y, along_x = (
            tf.constant(_linear_weights(side, self._factor), inputs.dtype)
            for side in inputs.shape[1:3])
        return self.conv(tf.einsum("yh,nhwc,xw->nyxc", along_y, inputs, along_x))


def _linear_weights(size: int, factor: int) -> np.ndarray:
    """Return the weights of linear interpolation between cell centres, [size * factor, size].

    As a product of matrices, bilinear interpolation is the same under XLA, whose own implementation
    differs for factors that are not powers of two.
    """
    centres = (np.arange(size * factor) + 0.5) / factor - 0.5
    return np.stack([np.interp(centres, np.arange(size), unit) for unit in np.eye(size)], axis=1)
