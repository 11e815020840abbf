"""MobileNet with a feature pyramid: the light backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import gin
import tf_keras
from official.vision.modeling.backbones import mobilenet

from deepmac_ablate.modeling.backbones import feature_pyramid
from deepmac_ablate.modeling.backbones.base import Backbone, Norm


@gin.register(module=__package__)
class MobileNetFPN(Backbone):
    """MobileNet (arXiv:1801.04381, arXiv:1905.02244) with a feature pyramid (arXiv:1612.03144).

    Its activations are its own; `Norm.activation` holds for the pyramid's coarser levels.

    Attributes:
        model_id: which one, by Model Garden's names.
        fpn_filters: channels of every pyramid level.
        width_multiplier: scales the channels of every MobileNet layer.
    """

    def __init__(
        self,
        model_id: Literal["MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"] = "MobileNetV2",
        fpn_filters: int = 256,
        width_multiplier: float = 1.0,
    ) -> None:
        self.model_id = model_id
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
        """Builds MobileNet up to its coarsest features, and FPN; see `Backbone.build`."""
        network = mobilenet.MobileNet(
            model_id=self.model_id,
            input_specs=tf_keras.layers.InputSpec(shape=[None, *image_size, 3]),
            filter_size_scale=self.width_multiplier,
            kernel_regularizer=regularizer,
            use_sync_bn=norm.synchronized,
            norm_momentum=norm.momentum,
            norm_epsilon=norm.epsilon,
        )
        features = network.output_specs
        # Behind the features lie layers for classification; here nothing would train them.
        backbone = tf_keras.Model(
            network.input, {level: network.output[level] for level in features}, name="mobilenet")
        decoder = feature_pyramid.build(
            features, min_level, max_level, self.fpn_filters, norm, regularizer)
        return backbone, decoder
