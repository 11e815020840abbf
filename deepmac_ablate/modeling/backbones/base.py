"""Interface of backbones, and the settings of the batch normalisation that they share."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence

import gin
import tf_keras

from deepmac_ablate.bindings.ranges import Epsilon, Share
from deepmac_ablate.modeling.normalization import Activation


# Gin knows the classes of this package by the package, whichever module defines them.
@gin.register(module="deepmac_ablate.modeling.backbones")
@dataclasses.dataclass(frozen=True)
class Norm:
    """Batch normalisation and activation of backbone, decoder, region proposals and box head.

    Attributes:
        momentum: Share of the old value that a moving statistic keeps in each step.
        epsilon: Number that is added to the variance.
        synchronized: Whether statistics are taken over all replicas; if not, the results of a trial
            depend on the number of devices that share a batch.
        activation: Name of the activation that follows.
    """

    momentum: Share = 0.997
    epsilon: Epsilon = 1e-4
    synchronized: bool = True
    activation: Activation = "relu"

    def options(self) -> dict[str, object]:
        """Return the settings as keyword arguments of Model Garden's layers."""
        return {
            "activation": self.activation,
            "use_sync_bn": self.synchronized,
            "norm_momentum": self.momentum,
            "norm_epsilon": self.epsilon,
        }


class Backbone(abc.ABC):
    """Builder of a network that ends in a feature pyramid."""

    @abc.abstractmethod
    def build(
        self,
        image_size: Sequence[int],
        min_level: int,
        max_level: int,
        norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> tuple[tf_keras.Model, tf_keras.layers.Layer]:
        """Build the two parts, which checkpoints call "backbone" and "decoder".

        Args:
            image_size: Height and width of the images in pixels, multiples of 2**max_level.
            min_level: Finest level of the pyramid.
            max_level: Coarsest level of the pyramid.
            norm: Normalisation of all layers.
            regularizer: Weight decay of all kernels.

        Returns:
            The backbone, [b, h, w, 3] -> features, and the decoder, features ->
            {level: [b, h / 2**level, w / 2**level, c]}.

        Raises:
            UserError: If the network does not support the levels, image size or normalisation.
        """
