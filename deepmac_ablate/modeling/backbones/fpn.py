"""Backbones with a feature pyramid network: ResNet and MobileNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import gin
import tensorflow as tf
import tf_keras
from official.vision.modeling.backbones import mobilenet, resnet
from official.vision.modeling.decoders import fpn

from deepmac_ablate.bindings.ranges import Channels, Factor
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.backbones.base import Backbone, Norm


@gin.register(module="deepmac_ablate.modeling.backbones")
class ResNetFPN(Backbone):
    """ResNet (arXiv:1512.03385) with a feature pyramid (arXiv:1612.03144).

    Attributes:
        depth: Number of layers: 10, 18, 26, 34, 50, 101, 152 or 200.
        fpn_filters: Number of channels of every pyramid level.
        width_multiplier: Factor on the number of channels of every ResNet layer.
    """

    def __init__(
        self, depth: int = 50, fpn_filters: Channels = 256, width_multiplier: Factor = 1.0
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
        decoder = _build_decoder(
            backbone.output_specs, min_level, max_level, self.fpn_filters, norm, regularizer)
        return backbone, decoder


@gin.register(module="deepmac_ablate.modeling.backbones")
class MobileNetFPN(Backbone):
    """MobileNet (arXiv:1801.04381, arXiv:1905.02244) with a feature pyramid (arXiv:1612.03144).

    MobileNet has activations of its own; `Norm.activation` applies to the coarser levels of the
    pyramid only.

    Attributes:
        model_id: Variant of MobileNet, by Model Garden's name.
        fpn_filters: Number of channels of every pyramid level.
        width_multiplier: Factor on the number of channels of every MobileNet layer.
    """

    def __init__(
        self,
        model_id: Literal["MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"] = "MobileNetV2",
        fpn_filters: Channels = 256,
        width_multiplier: Factor = 1.0,
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
        # The layers after the features are for classification; nothing would train them here.
        backbone = tf_keras.Model(
            network.input, {level: network.output[level] for level in features}, name="mobilenet")
        decoder = _build_decoder(
            features, min_level, max_level, self.fpn_filters, norm, regularizer)
        return backbone, decoder


def _build_decoder(
    features: Mapping[str, tf.TensorShape],
    min_level: int,
    max_level: int,
    filters: int,
    norm: Norm,
    regularizer: tf_keras.regularizers.Regularizer | None,
) -> tf_keras.Model:
    """Build the decoder; levels coarser than all features are made by strided convolutions.

    Args:
        features: Shapes of the backbone's features, {level: [b, h / 2**level, w / 2**level, c]}.
        min_level: Finest level of the pyramid; must be a level of the features.
        max_level: Coarsest level of the pyramid.
        filters: Number of channels of every level.
        norm: Normalisation of every level.
        regularizer: Weight decay of all kernels.

    Raises:
        UserError: If there are no features of the finest level.
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
