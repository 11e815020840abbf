"""Multiply-adds by kind of layer, against formulas and against TensorFlow's own statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.python.framework import ops

from deepmac_ablate.sweep.validation.multiply_adds import count_multiply_adds

# Layer, input without batch, products by hand.
LAYERS: dict[str, tuple[Callable[[], tf_keras.layers.Layer], tuple[int, ...], int]] = {
    "convolution": (
        lambda: tf_keras.layers.Conv2D(5, 3, padding="same"), (8, 6, 4), 8 * 6 * 5 * 9 * 4),
    "strided": (
        lambda: tf_keras.layers.Conv2D(5, 3, strides=2, padding="same"), (8, 6, 4),
        4 * 3 * 5 * 9 * 4),
    "grouped": (
        lambda: tf_keras.layers.Conv2D(6, 3, groups=2, padding="same"), (8, 6, 4),
        8 * 6 * 6 * 9 * 2),
    "transposed": (
        lambda: tf_keras.layers.Conv2DTranspose(5, 2, strides=2), (8, 6, 4), 8 * 6 * 4 * 4 * 5),
    "depthwise": (
        lambda: tf_keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), (8, 6, 4),
        8 * 6 * 4 * 2 * 9),
    "separable": (
        lambda: tf_keras.layers.SeparableConv2D(5, 3, padding="same"), (8, 6, 4),
        8 * 6 * 4 * 9 + 8 * 6 * 4 * 5),
    "dense": (lambda: tf_keras.layers.Dense(5), (7,), 7 * 5),
    "dense on a plane": (lambda: tf_keras.layers.Dense(5), (8, 6, 7), 8 * 6 * 7 * 5),
    "no product": (lambda: tf_keras.layers.ReLU(), (8, 6, 4), 0),
}


def graph_of(function, *shapes):
    specs = [tf.TensorSpec(shape) for shape in shapes]
    return tf.function(function).get_concrete_function(*specs).graph


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_layer_costs_what_its_formula_says(name, batch):
    """Per image, times the batch."""
    make, shape, expected = LAYERS[name]
    layer = make()
    assert batch * expected == count_multiply_adds(graph_of(layer, (batch, *shape)))


@pytest.mark.parametrize("transposed", [False, True])
def test_matrix_products_are_counted_as_they_are_stored(transposed):
    """Transposed or not, alone or in batches; numpy's shapes say what is multiplied."""
    a, b = np.zeros([5, 3]), np.zeros([3, 7])
    expected = a.shape[0] * a.shape[1] * b.shape[1]
    shape = (3, 5) if transposed else (5, 3)

    def product(x, y):
        return tf.linalg.matmul(x, y, transpose_a=transposed)

    assert expected == count_multiply_adds(graph_of(product, shape, (3, 7)))
    assert 4 * expected == count_multiply_adds(graph_of(product, (4, *shape), (4, 3, 7)))


def test_an_unknown_dimension_counts_as_one():
    """The rest is counted, and nothing fails."""
    layer = tf_keras.layers.Conv2D(5, 3, padding="same")
    assert 8 * 6 * 5 * 9 * 4 == count_multiply_adds(graph_of(layer, (None, 8, 6, 4)))


@pytest.mark.slow
def test_tensorflow_counts_twice_as_many_operations():
    """TensorFlow registers two operations for each multiply-add; a whole network, op by op."""
    network = tf_keras.applications.MobileNetV2(
        input_shape=(64, 64, 3), alpha=0.35, weights=None)
    graph = graph_of(network, (1, 64, 64, 3))
    kinds = {"Conv2D", "DepthwiseConv2dNative", "MatMul"}
    flops = sum(
        ops.get_stats_for_node_def(graph, op.node_def, "flops").value
        for op in graph.get_operations() if op.type in kinds)
    assert flops > 1e6
    assert flops == 2 * count_multiply_adds(graph)
