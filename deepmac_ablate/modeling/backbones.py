"""Backbones: images to a feature pyramid."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence

import gin
import tf_keras
from official.vision.modeling.backbones import resnet
from official.vision.modeling.decoders import fpn

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.normalization import Activation


@gin.register
@dataclasses.dataclass(frozen=True)
class Norm:
    """Batch normalisation (and activation) of backbone, decoder and box heads.

    Attributes:
        momentum: share of the old value that a moving statistic keeps per step.
        epsilon: added to the variance.
        synchronized: whether statistics are taken over all replicas.
        activation: name of the activation that follows.
    """

    momentum: float = 0.997
    epsilon: float = 1e-4
    synchronized: bool = True
    activation: Activation = "relu"

    def options(self) -> dict[str, object]:
        """Returns the settings under the names that Model Garden's layers take."""
        return {
            "activation": self.activation,
            "use_sync_bn": self.synchronized,
            "norm_momentum": self.momentum,
            "norm_epsilon": self.epsilon,
        }


class Backbone(abc.ABC):
    """Builds a network that ends in a feature pyramid."""

    @abc.abstractmethod
    def build(
        self,
        image_size: Sequence[int],
        min_level: int,
        max_level: int,
        norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> tuple[tf_keras.Model, tf_keras.Model]:
        """Builds the two parts, named as checkpoints name them.

        Args:
            image_size: height and width in pixels.
            min_level: finest level of the pyramid.
            max_level: coarsest level; the image's sides divide by 2**max_level.
            norm: normalisation of all layers.
            regularizer: weight decay of all kernels.

        Returns:
            The backbone, [b, h, w, 3] -> features, and the decoder, features ->
            {level: [b, h / 2**level, w / 2**level, c]}.
        """


@gin.register
class ResNetFPN(Backbone):
    """ResNet (arXiv:1512.03385) with a feature pyramid (arXiv:1612.03144).

    Attributes:
        depth: 10, 18, 26, 34, 50, 101, 152 or 200 layers.
        fpn_filters: channels of every pyramid level.
        width_multiplier: scales the channels of every ResNet layer.
    """

    def __init__(
        self, depth: int = 50, fpn_filters: int = 256, width_multiplier: float = 1.0
    ) -> None:
        if depth not in resnet.RESNET_SPECS:
            known = ", ".join(str(d) for d in sorted(resnet.RESNET_SPECS))
            raise UserError(f"ResNetFPN.depth = {depth} is not a known depth: {known}.")
        self.depth = depth
        self.fpn_filters = fpn_filters
        self.width_multiplier = width_multiplier

    def build(
        self,
        image_size: Sequence[int],
        min_level: int,
        max_level: int,
        norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> tuple[tf_keras.Model, tf_keras.Model]:
        """Builds ResNet and FPN; see `Backbone.build`."""
        backbone = resnet.ResNet(
            model_id=self.depth,
            input_specs=tf_keras.layers.InputSpec(shape=[None, *image_size, 3]),
            depth_multiplier=self.width_multiplier,
            kernel_regularizer=regularizer,
            **norm.options(),
        )
        decoder = fpn.FPN(
            input_specs=backbone.output_specs,
            min_level=min_level,
            max_level=max_level,
            num_filters=self.fpn_filters,
            kernel_regularizer=regularizer,
            **norm.options(),
        )
        return backbone, decoder
