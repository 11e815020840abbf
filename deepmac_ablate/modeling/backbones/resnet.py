"""ResNet with a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tf_keras
from official.vision.modeling.backbones import resnet

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.backbones import feature_pyramid
from deepmac_ablate.modeling.backbones.base import Backbone, Norm


@gin.register(module=__package__)
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
    ) -> tuple[tf_keras.Model, tf_keras.layers.Layer]:
        """Builds ResNet and FPN; see `Backbone.build`."""
        backbone = resnet.ResNet(
            model_id=self.depth,
            input_specs=tf_keras.layers.InputSpec(shape=[None, *image_size, 3]),
            depth_multiplier=self.width_multiplier,
            kernel_regularizer=regularizer,
            **norm.options(),
        )
        decoder = feature_pyramid.build(
            backbone.output_specs, min_level, max_level, self.fpn_filters, norm, regularizer)
        return backbone, decoder
