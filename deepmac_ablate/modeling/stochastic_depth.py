"""Stateless stochastic depth (arXiv:1603.09382).

Model Garden's layer draws from TensorFlow's stateful generator, whose state is not in checkpoints.
Here the draws of a step are a function of the step's seed. Networks take images only, so the seed
reaches their layers through a context variable: `seeded` applies to all layers that are called
within it on the same thread; each replica of a strategy has its own thread.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import nn_blocks

from deepmac_ablate.modeling import sampling

_SEED: contextvars.ContextVar[tf.Tensor | None] = contextvars.ContextVar("seed", default=None)


@contextlib.contextmanager
def seeded(seed: tf.Tensor | None) -> Iterator[None]:
    """Set the seed of all layers that are called within the context.

    Args:
        seed: Seed; see `sampling.uniform`. None: drawing is an error.
    """
    before = _SEED.set(seed)
    try:
        yield
    finally:
        _SEED.reset(before)


class StochasticDepth(tf_keras.layers.Layer):
    """Layer that, in training, drops its input for some images and scales up the others."""

    def __init__(self, drop_rate: float, number: int) -> None:
        """Store the settings.

        Args:
            drop_rate: Share of images that are dropped, in [0, 1).
            number: Number of the layer in its network, which makes its draws independent.
        """
        super().__init__()
        self.drop_rate = drop_rate
        self._number = number

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Drop some images of a batch.

        Args:
            inputs: Features, [b, h, w, c].
            training: Whether anything is dropped.

        Returns:
            [b, h, w, c]; the mean over many draws is the input.

        Raises:
            RuntimeError: If called in training outside of `seeded`.
        """
        if not training:
            return inputs
        seed = _SEED.get()
        if seed is None:
            raise RuntimeError("A network with stochastic depth must be trained within `seeded`.")
        own = sampling.fold_in(seed, self._number)
        kept = sampling.uniform([tf.shape(inputs)[0], 1, 1, 1], own) >= self.drop_rate
        return tf.where(kept, inputs / (1.0 - self.drop_rate), tf.zeros_like(inputs))


def make_stateless(network: tf_keras.Model) -> None:
    """Replace the stochastic-depth layers of a Model Garden network by `StochasticDepth`.

    Args:
        network: Network of residual blocks, which is modified.
    """
    kinds = (nn_blocks.ResidualBlock, nn_blocks.BottleneckBlock)
    blocks = [layer for layer in network.layers if isinstance(layer, kinds)]
    for number, block in enumerate(blocks):
        rate = block.get_config()["stochastic_depth_drop_rate"]
        if rate:
            block._stochastic_depth = StochasticDepth(rate, number)
