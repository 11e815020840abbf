"""The depths and sizes of the hourglasses, and their parity with upstream's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from official.projects.deepmac_maskrcnn.modeling.heads import hourglass_network

from deepmac_ablate.modeling import hourglass
from deepmac_ablate.modeling.normalization import BatchNorm
from tests.helpers import tiny_model
from tests.parity import upstream

LAYERS = hourglass.Layers(BatchNorm(0.1, 1e-5))
VARIANTS = {
    "uniform_size": {"downsampling": False},
    "no_shortcut": {"shortcuts": False},
}


def ours(depth: int, width: int = 4, **options: bool) -> hourglass.Hourglass:
    return hourglass.Hourglass(hourglass.SHAPES[depth], width, LAYERS, **options)


def longest_path(layer: object) -> int:
    """Count the convolutions on the way that goes all the way down."""
    match layer:
        case hourglass.ConvNorm():
            return 1
        case hourglass.ResidualBlock():
            return longest_path(layer.first) + longest_path(layer.second)
        case hourglass.Stage():
            return sum(map(longest_path, (*layer.down, *layer.inner, *layer.up)))
        case hourglass.Hourglass():
            parts = (layer.stem, layer.widen, layer.stage, layer.output_conv)
            return sum(map(longest_path, parts))
    raise TypeError(layer)


@pytest.mark.parametrize("depth", hourglass.SHAPES)
def test_an_hourglass_is_as_deep_as_its_name(depth: int) -> None:
    """The longest path has `depth` convolutions, as upstream counts them."""
    assert depth == longest_path(ours(depth))
    theirs = getattr(hourglass_network, f"hourglass_{depth}")(4, initial_downsample=False)
    assert depth == hourglass_network.hourglass_depth(theirs)


@pytest.mark.parametrize(
    "depth",
    [10, 20,
     pytest.param(32, marks=pytest.mark.slow),
     *(pytest.param(d, marks=[pytest.mark.slow, pytest.mark.extended]) for d in (52, 100))])
def test_features_equal_upstreams(depth: int) -> None:
    """With the same weights both give the same features to 1e-4 of the largest."""
    size = 2 ** hourglass.SHAPES[depth].num_stages * 2
    theirs = getattr(hourglass_network, f"hourglass_{depth}")(4, initial_downsample=False)
    assert_same_features(theirs, ours(depth), size)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_equal_upstreams(variant: str) -> None:
    """Without down-sampling or without shortcuts: as deep, and the same features."""
    theirs = getattr(hourglass_network, f"hourglass_20_{variant}")(4)
    mine = ours(20, **VARIANTS[variant])
    assert longest_path(mine) == 20 == hourglass_network.hourglass_depth(theirs)
    assert_same_features(theirs, mine, size=8)


def assert_same_features(
    theirs: hourglass_network.HourglassNetwork, mine: hourglass.Hourglass, size: int
) -> None:
    """With the same weights both give the same features to 1e-4 of the largest."""
    x = tf.constant(np.random.default_rng(0).normal(size=(3, size, size, 5)), tf.float32)
    theirs(x), mine(x)
    for their_layer, our_layer in upstream.paired_hourglass(theirs, mine):
        tiny_model.randomise(their_layer.variables, seed=size)
        for a, b in zip(their_layer.variables, our_layer.variables, strict=True):
            b.assign(a)
    assert len(theirs.variables) == len(mine.variables)
    for training in (False, True):
        expected, actual = theirs(x, training=training)[-1], mine(x, training=training)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
