"""The deep mask head of the paper."""

from __future__ import annotations

import gin
import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import hourglass
from deepmac_ablate.modeling.mask_heads.base import FullyConvolutionalMaskHead
from deepmac_ablate.modeling.mask_heads.upsampling import Upsampling
from deepmac_ablate.modeling.normalization import Activation, BatchNorm, HeadNorm


@gin.register(module="deepmac_ablate.modeling.mask_heads")
class HourglassMaskHead(FullyConvolutionalMaskHead):
    """The deep mask head of arXiv:2104.00613: an hourglass of 10 to 100 layers.

    The head's width is that of the hourglass's first convolution and of the up-sampling; inside, an
    hourglass is two to four times as wide.
    """

    def __init__(
        self,
        depth: int = 52,
        width: int = 64,
        crop_size: int = 32,
        downsampling: bool = True,
        shortcuts: bool = True,
        upsampling: Upsampling | None = None,
        class_agnostic: bool = True,
        norm: HeadNorm | None = None,
        tail_norm: HeadNorm | None = None,
        weight_decay: bool = True,
        activation: Activation = "relu",
    ) -> None:
        """Record the settings.

        Args:
            depth: layers on the longest way through the hourglass: 10, 20, 32, 52 or 100.
            width: channels of its first convolution and of the up-sampling.
            crop_size: side of the feature crop; divides by 2 as often as the hourglass halves it.
            downsampling: whether the hourglass halves its input from stage to stage; without, all
                of it works at the crop's size.
            shortcuts: whether each resolution is led around the lower ones and added.
            upsampling: from the crop's size to the mask's; None: `Deconvolution()`.
            class_agnostic: whether one mask serves all classes.
            norm: inside the hourglass; None: `BatchNorm(momentum=0.9, epsilon=1e-5)`.
            tail_norm: of the up-sampling; None: `BatchNorm()`.
            weight_decay: whether the hourglass's kernels have weight decay like all others; the
                paper's published code leaves them out.
            activation: what follows the up-sampling's normalisation; inside it is always ReLU.

        Raises:
            UserError: if the depth is unknown, or the crop does not suit it.
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
