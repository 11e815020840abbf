"""Stochastic depth without state (arXiv:1603.09382).

Model Garden's layer draws from TensorFlow's stateful generator, whose position no checkpoint
holds. Here the draws of a step are a function of the step's seed. Networks take nothing but images,
so the seed reaches the layers in them around their inputs: `seeded` holds for all layers that are
called within it, on its thread, as each replica of a strategy has its own.
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
    """Make all layers that are called within it draw as a function of a seed.

    Args:
        seed: as `sampling.uniform` takes it; None: no layer may draw.
    """
    before = _SEED.set(seed)
    try:
        yield
    finally:
        _SEED.reset(before)


class StochasticDepth(tf_keras.layers.Layer):
    """In training drops its input for some images of a batch, and scales it up for the rest."""

    def __init__(self, drop_rate: float, number: int) -> None:
        """Record what to do.

        Args:
            drop_rate: share of images that are dropped, in [0, 1).
            number: keeps the draws of a network's layers apart.
        """
        super().__init__()
        self.drop_rate = drop_rate
        self._number = number

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Drop.

        Args:
            inputs: [b, h, w, c].
            training: whether anything is dropped.

        Returns:
            [b, h, w, c]; the mean over many draws is the input.

        Raises:
            RuntimeError: if it would have to draw outside of `seeded`.
        """
        if not training:
            return inputs
        seed = _SEED.get()
        if seed is None:
            raise RuntimeError("A network with stochastic depth is trained within `seeded` only.")
        own = sampling.fold_in(seed, self._number)
        kept = sampling.uniform([tf.shape(inputs)[0], 1, 1, 1], own) >= self.drop_rate
        return tf.where(kept, inputs / (1.0 - self.drop_rate), tf.zeros_like(inputs))


def make_stateless(network: tf_keras.Model) -> None:
    """Give the residual blocks of a Model Garden network this layer in place of its own.

    Args:
        network: made of blocks, each with the drop rate that it was made with.
    """
    kinds = (nn_blocks.ResidualBlock, nn_blocks.BottleneckBlock)
    blocks = [layer for layer in network.layers if isinstance(layer, kinds)]
    for number, block in enumerate(blocks):
        rate = block.get_config()["stochastic_depth_drop_rate"]
        if rate:
            block._stochastic_depth = StochasticDepth(rate, number)
