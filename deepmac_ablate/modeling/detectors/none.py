"""The mask branch alone: no detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate.modeling.backbones import Norm
from deepmac_ablate.modeling.detectors.base import Detector, Regions


@gin.register(module="deepmac_ablate.modeling.detectors")
class NoDetector(Detector):
    """No detector: masks are trained and evaluated in annotated boxes, exact or jittered.

    It has no losses of boxes, so that backbone and pyramid serve the masks alone.
    """

    finds_objects = False

    def build(
        self, num_classes: int, image_size: Sequence[int], norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> dict[str, tf_keras.layers.Layer]:
        """Build nothing; see `Detector.build`."""
        del num_classes, image_size, norm, regularizer
        return {}

    def run_layers(self, features: Mapping[str, tf.Tensor], training: bool) -> None:
        """Call nothing; see `Detector.run_layers`."""
        del features, training

    def train(
        self, features: Mapping[str, tf.Tensor], image_shape: tf.Tensor,
        labels: Mapping[str, Any], seed: tf.Tensor, *, with_losses: bool,
    ) -> tuple[dict[str, Any], Regions | None]:
        """Return no outputs and no regions; see `Detector.train`."""
        del features, image_shape, labels, seed, with_losses
        return {}, None
