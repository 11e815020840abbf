"""Hourglass network as the body of a mask head (arXiv:1603.06937; depths as in arXiv:2104.00613).

Layers and initialisation are those of the paper's published code, with two differences: up-sampling
is a reshape, because nearest-neighbour resizing has no gradient under XLA on some devices; and
batch normalisation can leave padding slots out of its statistics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tf_keras
from official.vision.ops import spatial_transform_ops

from deepmac_ablate.modeling.normalization import HeadNorm


@dataclasses.dataclass(frozen=True)
class HourglassShape:
    """Shape of an hourglass: one entry per resolution, the finest first.

    Attributes:
        blocks: Number of residual blocks at each resolution.
        multipliers: Number of channels at each resolution, as a multiple of the head's width.
    """

    blocks: tuple[int, ...]
    multipliers: tuple[int, ...]

    @property
    def num_stages(self) -> int:
        """Number of times that the hourglass halves the resolution."""
        return len(self.blocks) - 1


SHAPES = {
    10: HourglassShape((1, 1), (2, 2)),
    20: HourglassShape((1, 2, 2), (2, 2, 3)),
    32: HourglassShape((2, 2, 2, 2), (2, 2, 3, 3)),
    52: HourglassShape((2, 2, 2, 2, 2, 4), (2, 2, 3, 3, 3, 4)),
    100: HourglassShape((4, 4, 4, 4, 4, 8), (2, 2, 3, 3, 3, 4)),
}


@dataclasses.dataclass(frozen=True)
class Layers:
    """Settings that all convolutions of an hourglass share.

    Attributes:
        norm: Normalisation after each convolution.
        regularizer: Weight decay of each kernel.
    """

    norm: HeadNorm
    regularizer: tf_keras.regularizers.Regularizer | None = None


class ConvNorm(tf_keras.layers.Layer):
    """Convolution without bias, then normalisation, then optionally a ReLU."""

    def __init__(
        self, filters: int, kernel_size: int, layers: Layers, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        # Explicit symmetric padding where "same" pads on one side only: before a stride.
        self._padding = (kernel_size - 1) // 2 if stride > 1 else 0
        self.conv = tf_keras.layers.Conv2D(
            filters, kernel_size, strides=stride, padding="valid" if stride > 1 else "same",
            use_bias=False, kernel_regularizer=layers.regularizer)
        self.norm = layers.norm.build()
        self._relu = relu

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """[n, h, w, c] -> [n, h / stride, w / stride, filters]."""
        p = self._padding
        x = tf.pad(inputs, [[0, 0], [p, p], [p, p], [0, 0]]) if p else inputs
        x = self.norm(self.conv(x), valid=valid, training=training)
        return tf.nn.relu(x) if self._relu else x


class ResidualBlock(tf_keras.layers.Layer):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution if shapes differ."""

    def __init__(
        self, filters: int, layers: Layers, stride: int = 1, project: bool = False
    ) -> None:
        super().__init__()
        self.first = ConvNorm(filters, 3, layers, stride=stride)
        self.second = ConvNorm(filters, 3, layers, relu=False)
        self.skip = ConvNorm(filters, 1, layers, stride=stride, relu=False) if project else None

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """[n, h, w, c] -> [n, h / stride, w / stride, filters]."""
        x = self.second(self.first(inputs, valid=valid, training=training),
                        valid=valid, training=training)
        shortcut = inputs
        if self.skip is not None:
            shortcut = self.skip(inputs, valid=valid, training=training)
        return tf.nn.relu(x + shortcut)


class Stage(tf_keras.layers.Layer):
    """One resolution of the hourglass: down, the next resolution and up, beside a shortcut."""

    def __init__(
        self,
        channels: Sequence[int],
        blocks: Sequence[int],
        layers: Layers,
        downsampling: bool = True,
        shortcuts: bool = True,
    ) -> None:
        super().__init__()
        outer, inner = channels[0], channels[1]
        self._factor = 2 if downsampling else 1
        self.shortcut = _residual_blocks(blocks[0], outer, layers) if shortcuts else None
        self.down = _residual_blocks(
            blocks[0], inner, layers, stride=self._factor, project_first=outer != inner)
        if len(channels) > 2:
            self.inner = [Stage(channels[1:], blocks[1:], layers, downsampling, shortcuts)]
        else:
            self.inner = _residual_blocks(blocks[1], inner, layers)
        self.up = _residual_blocks(blocks[0], outer, layers, hidden=inner)

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """[n, h, w, c] -> [n, h, w, channels[0]]."""
        x = inputs
        for block in (*self.down, *self.inner, *self.up):
            x = block(x, valid=valid, training=training)
        if self._factor > 1:
            x = spatial_transform_ops.nearest_upsampling(x, self._factor)
        if self.shortcut is None:
            return x
        around = inputs
        for block in self.shortcut:
            around = block(around, valid=valid, training=training)
        return around + x


class Hourglass(tf_keras.layers.Layer):
    """One hourglass between two convolutions, at full input resolution."""

    def __init__(
        self,
        shape: HourglassShape,
        width: int,
        layers: Layers,
        downsampling: bool = True,
        shortcuts: bool = True,
    ) -> None:
        """Create the layers.

        Args:
            shape: Blocks and channels at each resolution.
            width: Number of channels of the first convolution.
            layers: Settings that all convolutions share.
            downsampling: Whether the resolution halves from stage to stage.
            shortcuts: Whether each resolution has a shortcut beside the lower ones.
        """
        super().__init__()
        channels = [width * multiplier for multiplier in shape.multipliers]
        self.stem = ConvNorm(width, 3, layers)
        self.widen = ResidualBlock(channels[0], layers, project=True)
        self.stage = Stage(channels, shape.blocks, layers, downsampling, shortcuts)
        self.output_conv = ConvNorm(channels[0], 3, layers)

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """[n, s, s, c] -> [n, s, s, width * first multiplier]; s divides by 2**stages."""
        x = inputs
        for layer in (self.stem, self.widen, self.stage, self.output_conv):
            x = layer(x, valid=valid, training=training)
        return x


def _residual_blocks(
    count: int,
    filters: int,
    layers: Layers,
    stride: int = 1,
    hidden: int | None = None,
    project_first: bool = False,
) -> list[ResidualBlock]:
    """Create a row of blocks: the first strides, the last changes from `hidden` to `filters`."""
    hidden = filters if hidden is None else hidden
    if count == 1:
        return [ResidualBlock(filters, layers, stride=stride, project=stride > 1)]
    first = ResidualBlock(hidden, layers, stride=stride, project=stride > 1 or project_first)
    middle = [ResidualBlock(hidden, layers) for _ in range(count - 2)]
    return [first, *middle, ResidualBlock(filters, layers, project=hidden != filters)]
