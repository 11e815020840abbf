"""What every backbone is, and the normalisation that all of them share."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence

import gin
import tf_keras

from deepmac_ablate.modeling.normalization import Activation


# The classes of this package are known to gin by the package: where a class is kept is no part of
# its name.
@gin.register(module="deepmac_ablate.modeling.backbones")
@dataclasses.dataclass(frozen=True)
class Norm:
    """Batch normalisation (and activation) of backbone, decoder and box heads.

    Attributes:
        momentum: share of the old value that a moving statistic keeps per step.
        epsilon: added to the variance.
        synchronized: whether statistics are taken over all replicas; if not, what a trial computes
            depends on how many devices share a batch.
        activation: name of the activation that follows.
    """

    momentum: float = 0.997
    epsilon: float = 1e-4
    synchronized: bool = True
    activation: Activation = "relu"

    def options(self) -> dict[str, object]:
        """Return the settings under the names that Model Garden's layers take."""
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
    ) -> tuple[tf_keras.Model, tf_keras.layers.Layer]:
        """Build the two parts, named as checkpoints name them.

        Args:
            image_size: height and width in pixels.
            min_level: finest level of the pyramid.
            max_level: coarsest level; the image's sides divide by 2**max_level.
            norm: normalisation of all layers.
            regularizer: weight decay of all kernels.

        Returns:
            The backbone, [b, h, w, 3] -> features, and the decoder, features ->
            {level: [b, h / 2**level, w / 2**level, c]}.

        Raises:
            UserError: if the network cannot have such levels, images or normalisation.
        """
