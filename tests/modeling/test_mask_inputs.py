"""Further channels for mask heads."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from deepmac_ablate.modeling.mask_inputs import Coordinates, InstanceEmbedding
from tests.helpers import tiny_model


def test_coordinates_run_from_edge_to_edge() -> None:
    """First y, then x, from -1 in the first cell to 1 in the last, the same in every box."""
    channels = Coordinates()(tf.zeros([2, 3, 3, 5])).numpy()
    np.testing.assert_allclose(channels[0, :, :, 0], [[-1] * 3, [0] * 3, [1] * 3], atol=1e-7)
    np.testing.assert_allclose(channels[0, :, :, 1], [[-1, 0, 1]] * 3, atol=1e-7)
    np.testing.assert_array_equal(channels[0], channels[1])


@pytest.mark.usefixtures("clean_tensorflow")
def test_inputs_follow_the_precision() -> None:
    """Under mixed precision the crops are bfloat16, and so are the channels."""
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    crops = tf.zeros([1, 2, 2, 3], tf.bfloat16)
    assert [Coordinates()(crops).dtype, InstanceEmbedding()(crops).dtype] == [tf.bfloat16] * 2


@pytest.mark.parametrize(("size", "centre"), [(4, slice(1, 3)), (5, slice(2, 3))])
def test_the_embedding_is_of_the_centre(size: int, centre: slice) -> None:
    """In numpy: two layers on the mean of the middle cells, repeated in every cell."""
    layer = InstanceEmbedding(dim=3, hidden=6)
    crops = np.random.default_rng(0).normal(size=(2, size, size, 5)).astype(np.float32)
    layer(crops)
    tiny_model.randomise(layer.variables, seed=1)
    kernel, bias, last_kernel, last_bias = (v.numpy() for v in layer.variables)
    middle = crops[:, centre, centre].mean(axis=(1, 2))
    expected = np.maximum(middle @ kernel + bias, 0.0) @ last_kernel + last_bias
    channels = layer(crops).numpy()
    assert (2, size, size, 3) == channels.shape
    np.testing.assert_allclose(
        np.broadcast_to(expected[:, None, None], channels.shape), channels, rtol=1e-5, atol=1e-6)




@pytest.mark.slow
def test_the_head_gets_the_channels_and_learns_from_them() -> None:
    """The first convolution is wider by their number; the embedding has a gradient."""
    embedding = InstanceEmbedding(dim=3, hidden=6)
    model = tiny_model.build_model(mask_inputs=[Coordinates(), embedding])
    step = tiny_model.step(model, tiny_model.batch())
    assert model.mask_head.convs[0].kernel.shape[2] == 16 + 2 + 3
    of = {id(v): g for v, g in zip(model.trainable_variables, step.gradients, strict=True)}
    assert len(embedding.trainable_variables) == 4
    assert all(np.abs(of[id(v)]).max() > 0 for v in embedding.trainable_variables)
