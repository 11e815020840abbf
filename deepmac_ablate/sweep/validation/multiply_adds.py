"""Multiply-adds of TensorFlow graphs, counted from the shapes in them: nothing is run."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf


def count_multiply_adds(graph: tf.Graph) -> int:
    """Return the number of multiply-adds in a graph's convolutions and matrix products.

    Other operations are left out, as they are a small part of the work, and so are the bodies of
    loops and branches. A dimension that is unknown before the graph runs counts as one; give the
    graph inputs of known shapes.
    """
    return sum(_RULES[op.type](op) for op in graph.get_operations() if op.type in _RULES)


def _convolution(op: tf.Operation) -> int:
    height, width, channels, _ = op.inputs[1].shape
    return _size(op.outputs[0]) * height * width * channels


def _depthwise_convolution(op: tf.Operation) -> int:
    height, width, _, _ = op.inputs[1].shape
    return _size(op.outputs[0]) * height * width


def _transposed_convolution(op: tf.Operation) -> int:
    # Its third input has the shape of the output of the convolution that it transposes.
    height, width, channels, _ = op.inputs[1].shape
    return _size(op.inputs[2]) * height * width * channels


def _matrix_product(op: tf.Operation) -> int:
    shape = op.inputs[0].shape
    transposed = op.get_attr(_TRANSPOSED[op.type])
    return _size(op.outputs[0]) * (shape[-2] if transposed else shape[-1])


def _call(op: tf.Operation) -> int:
    # Keras puts grouped convolutions into a function.
    return count_multiply_adds(op.graph._get_function(op.get_attr("f").name).graph)


def _size(tensor: tf.Tensor) -> int:
    return math.prod(1 if side is None else side for side in tensor.shape)


_TRANSPOSED = {"MatMul": "transpose_a", "BatchMatMul": "adj_x", "BatchMatMulV2": "adj_x"}

_RULES: dict[str, Callable[[tf.Operation], int]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise_convolution,
    "Conv2DBackpropInput": _transposed_convolution,
    **dict.fromkeys(_TRANSPOSED, _matrix_product),
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), _call),
}
