"""The paper's deep mask head."""

from __future__ import annotations

from typing import Annotated

import gin
import tensorflow as tf

from deepmac_ablate.bindings.ranges import Range, Side
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import hourglass
from deepmac_ablate.modeling.mask_heads.base import FullyConvolutionalMaskHead
from deepmac_ablate.modeling.mask_heads.upsampling import Upsampling
from deepmac_ablate.modeling.normalization import Activation, BatchNorm, HeadNorm


@gin.register(module="deepmac_ablate.modeling.mask_heads")
class HourglassMaskHead(FullyConvolutionalMaskHead):
    """The deep mask head of arXiv:2104.00613: an hourglass of 10 to 100 layers.

    Inside the hourglass, layers have two to four times the channels of `width`.
    """

    def __init__(
        self,
        depth: int = 52,
        width: Annotated[int, Range(1, 1024)] = 64,
        crop_size: Side = 32,
        downsampling: bool = True,
        shortcuts: bool = True,
        upsampling: Upsampling | None = None,
        class_agnostic: bool = True,
        norm: HeadNorm | None = None,
        tail_norm: HeadNorm | None = None,
        weight_decay: bool = True,
        activation: Activation = "relu",
    ) -> None:
        """Store the settings.

        Args:
            depth: Number of layers on the longest path: 10, 20, 32, 52 or 100.
            width: Number of channels of the first convolution and of the up-sampling.
            crop_size: Side of the feature crop, in cells; a multiple of 2, 4, 8, 32 and 32 for the
                depths above, unless `downsampling` is off.
            downsampling: Whether the hourglass halves the resolution from stage to stage; if not,
                all layers work at the size of the crop.
            shortcuts: Whether each resolution has a shortcut beside the lower ones.
            upsampling: Up-sampling from the size of the crop to that of the mask; None for
                `Deconvolution()`.
            class_agnostic: Whether one mask is used for all classes.
            norm: Normalisation inside the hourglass; None for
                `BatchNorm(momentum=0.9, epsilon=1e-5)`.
            tail_norm: Normalisation of the up-sampling; None for `BatchNorm()`.
            weight_decay: Whether the kernels of the hourglass have weight decay, like all others;
                in the paper's published code they have none.
            activation: Activation after the normalisation of the up-sampling; inside the hourglass
                it is always ReLU.

        Raises:
            UserError: If the depth is unknown or does not suit the crop size.
        """
        if depth not in hourglass.SHAPES:
            known = ", ".join(str(d) for d in hourglass.SHAPES)
            raise UserError(f"HourglassMaskHead.depth = {depth} is not a known depth: {known}.")
        stages = hourglass.SHAPES[depth].num_stages
        if downsampling and crop_size % 2**stages:
            raise UserError(
                f"HourglassMaskHead.crop_size = {crop_size} does not suit depth {depth}, which "
                f"halves its input {stages} times: use a multiple of {2**stages}.")
        super().__init__(
            crop_size=crop_size, width=width, upsampling=upsampling,
            class_agnostic=class_agnostic, norm=tail_norm, activation=activation)
        self._depth = depth
        self._downsampling = downsampling
        self._shortcuts = shortcuts
        self._body_norm = norm or BatchNorm(momentum=0.9, epsilon=1e-5)
        self._weight_decay = weight_decay

    def build_body(self) -> None:
        """Create the hourglass."""
        layers = hourglass.Layers(
            self._body_norm, self.regularizer if self._weight_decay else None)
        self.hourglass = hourglass.Hourglass(
            hourglass.SHAPES[self._depth], self.width, layers, self._downsampling,
            self._shortcuts)

    def body(self, features: tf.Tensor, valid: tf.Tensor | None, training: bool) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, crop, crop, 2 * width]."""
        return self.hourglass(features, valid=valid, training=training)
