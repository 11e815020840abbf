"""ResNet with a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import gin
import tensorflow as tf
import tf_keras
from official.vision.modeling.backbones import mobilenet, resnet
from official.vision.modeling.decoders import fpn

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.backbones.base import Backbone, Norm


@gin.register(module="deepmac_ablate.modeling.backbones")
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
        """Build ResNet and FPN; see `Backbone.build`."""
        backbone = resnet.ResNet(
            model_id=self.depth,
            input_specs=tf_keras.layers.InputSpec(shape=[None, *image_size, 3]),
            depth_multiplier=self.width_multiplier,
            kernel_regularizer=regularizer,
            **norm.options(),
        )
        decoder = build_decoder(
            backbone.output_specs, min_level, max_level, self.fpn_filters, norm, regularizer)
        return backbone, decoder


@gin.register(module="deepmac_ablate.modeling.backbones")
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
        """Build MobileNet up to its coarsest features, and FPN; see `Backbone.build`."""
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
        decoder = build_decoder(
            features, min_level, max_level, self.fpn_filters, norm, regularizer)
        return backbone, decoder


def build_decoder(
    features: Mapping[str, tf.TensorShape],
    min_level: int,
    max_level: int,
    filters: int,
    norm: Norm,
    regularizer: tf_keras.regularizers.Regularizer | None,
) -> tf_keras.Model:
    """Build the decoder; levels coarser than all features are made by strided convolutions.

    Args:
        features: the backbone's shapes, {level: [b, h / 2**level, w / 2**level, c]}.
        min_level: finest level of the pyramid; one of the features'.
        max_level: coarsest level of the pyramid.
        filters: channels of every level.
        norm: normalisation of every level.
        regularizer: weight decay of all kernels.

    Raises:
        UserError: if the pyramid would start where there are no features.
    """
    levels = sorted(int(level) for level in features)
    if min_level not in levels:
        raise UserError(
            f"Anchors.min_level = {min_level} does not suit a feature pyramid on features of "
            f"levels {levels[0]} to {levels[-1]}: use one of these.")
    return fpn.FPN(
        input_specs=features,
        min_level=min_level,
        max_level=max_level,
        num_filters=filters,
        kernel_regularizer=regularizer,
        **norm.options(),
    )
