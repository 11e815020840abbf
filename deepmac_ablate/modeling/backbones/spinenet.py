"""SpineNet: a backbone whose outputs are the feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import gin
import tf_keras
from official.vision.modeling.backbones import spinenet

from deepmac_ablate.bindings.ranges import Factor, Range
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import stochastic_depth
from deepmac_ablate.modeling.backbones.base import Backbone, Norm

# The published pyramid has levels 3 to 7; Model Garden's network ends in a block of level 2 too.
LEVELS = range(2, 8)
ACTIVATIONS = ("relu", "swish")


@gin.register(module="deepmac_ablate.modeling.backbones")
class SpineNet(Backbone):
    """SpineNet (arXiv:1912.05027): blocks of permuted scales, whose outputs are the pyramid.

    SpineNet always has blocks of level 7, so image sides must be multiples of 128 pixels.

    Attributes:
        model_id: Variant of SpineNet; 49S is narrower than 49, and 143L wider than 143.
        stochastic_depth_drop_rate: Share of training images for which the last block is skipped;
            earlier blocks are skipped less often, in proportion to their position
            (arXiv:1603.09382).
        width_multiplier: Factor on the number of channels of every layer except the first;
            applies to the pyramid too.
    """

    def __init__(
        self,
        model_id: Literal["49S", "49", "96", "143", "143L", "190"] = "49",
        stochastic_depth_drop_rate: Annotated[float, Range(0, 0.999)] = 0.0,
        width_multiplier: Factor = 1.0,
    ) -> None:
        self.model_id = model_id
        self.stochastic_depth_drop_rate = stochastic_depth_drop_rate
        self.width_multiplier = width_multiplier

    def build(
        self,
        image_size: Sequence[int],
        min_level: int,
        max_level: int,
        norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> tuple[tf_keras.Model, tf_keras.layers.Layer]:
        """Build SpineNet and an identity decoder; see `Backbone.build`."""
        _check(image_size, min_level, max_level, norm)
        scaling = spinenet.SCALING_MAP[self.model_id]
        backbone = spinenet.SpineNet(
            input_specs=tf_keras.layers.InputSpec(shape=[None, *image_size, 3]),
            min_level=min_level,
            max_level=max_level,
            endpoints_num_filters=int(scaling["endpoints_num_filters"] * self.width_multiplier),
            filter_size_scale=scaling["filter_size_scale"] * self.width_multiplier,
            resample_alpha=scaling["resample_alpha"],
            block_repeats=scaling["block_repeats"],
            init_stochastic_depth_rate=self.stochastic_depth_drop_rate,
            kernel_regularizer=regularizer,
            **norm.options(),
        )
        stochastic_depth.make_stateless(backbone)
        # The base layer of Keras is the identity.
        return backbone, tf_keras.layers.Layer(name="identity")


def _check(image_size: Sequence[int], min_level: int, max_level: int, norm: Norm) -> None:
    if min_level not in LEVELS or max_level not in LEVELS:
        raise UserError(
            f"Anchors.min_level = {min_level} and Anchors.max_level = {max_level} do not suit "
            f"SpineNet, which has levels {LEVELS[0]} to {LEVELS[-1]} (published: 3 to 7).")
    stride = 2 ** LEVELS[-1]
    if any(side % stride for side in image_size):
        raise UserError(
            f"MaskRCNN.image_size = {tuple(image_size)} does not suit SpineNet, which has blocks "
            f"of level {LEVELS[-1]}: use multiples of {stride}.")
    if norm.activation not in ACTIVATIONS:
        raise UserError(
            f"Norm.activation = {norm.activation!r} does not suit SpineNet: use "
            f"{' or '.join(map(repr, ACTIVATIONS))}.")
