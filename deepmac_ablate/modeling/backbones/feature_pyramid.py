"""The feature pyramid network (arXiv:1612.03144) on top of a classification network."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tf_keras
from official.vision.modeling.decoders import fpn

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.backbones.base import Norm


def build(
    features: Mapping[str, tf.TensorShape],
    min_level: int,
    max_level: int,
    filters: int,
    norm: Norm,
    regularizer: tf_keras.regularizers.Regularizer | None,
) -> tf_keras.Model:
    """Builds the decoder; levels coarser than all features are made by strided convolutions.

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
