"""Batch statistics over valid rows, against numpy."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from deepmac_ablate.modeling.normalization import BatchNorm, GroupNorm, MaskedBatchNormalization

MOMENTUM, EPSILON = 0.99, 1e-3
VALID = np.array([True, False, True, False, True])


def layer(synchronized: bool = False) -> MaskedBatchNormalization:
    result = MaskedBatchNormalization(MOMENTUM, EPSILON, synchronized)
    result.build(tf.TensorShape([None, 4, 4, 3]))
    values = [1.0, 2.0, 0.5], [0.1, 0.0, -1.0], [5.0, 0.3, 1.0], [2.0, 1.0, 4.0]
    for variable, value in zip(result.norm.variables, values, strict=True):
        variable.assign(value)
    return result


def inputs(padding: float = 100.0) -> tf.Tensor:
    """[5, 4, 4, 3], with `padding` in the rows that are not valid."""
    x = np.random.default_rng(0).normal(loc=2.0, scale=3.0, size=(5, 4, 4, 3))
    x[~VALID] = padding
    return tf.constant(x, tf.float32)


@pytest.mark.parametrize("synchronized", [False, True])
def test_statistics_are_those_of_the_valid_rows(synchronized: bool) -> None:
    """Output and remembered statistics follow numpy's mean and variance over valid rows."""
    norm = layer(synchronized)
    gamma, beta, old_mean, old_variance = (v.numpy() for v in norm.norm.variables)
    actual = norm(inputs(), valid=tf.constant(VALID), training=True)
    x = inputs().numpy().astype(np.float64)
    mean, variance = x[VALID].mean(axis=(0, 1, 2)), x[VALID].var(axis=(0, 1, 2))
    expected = (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        norm.norm.moving_mean, MOMENTUM * old_mean + (1 - MOMENTUM) * mean, rtol=1e-5)
    np.testing.assert_allclose(
        norm.norm.moving_variance, MOMENTUM * old_variance + (1 - MOMENTUM) * variance, rtol=1e-5)


@pytest.mark.parametrize("synchronized", [False, True])
def test_all_rows_valid_is_kerass(synchronized: bool) -> None:
    """Without padding the outputs and gradients are those of Keras's layer."""
    results = []
    for valid in (None, tf.ones([5], tf.bool)):
        norm, x = layer(synchronized), inputs(0.5)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = norm(x, valid=valid, training=True)
            loss = tf.reduce_sum(tf.sin(y))
        results.append([y, *tape.gradient(loss, [x, *norm.trainable_variables])])
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("synchronized", [False, True])
def test_gradients_are_those_of_kerass_layer_on_the_valid_rows(synchronized: bool) -> None:
    """Those of valid rows, scale and shift; padding has none."""
    results = []
    for rows, valid in ((VALID, None), (slice(None), tf.constant(VALID))):
        norm, x = layer(synchronized), tf.constant(inputs().numpy()[rows])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = norm(x, valid=valid, training=True)
            loss = tf.reduce_sum(tf.sin(y if valid is None else y[VALID]))
        of_inputs, *others = tape.gradient(loss, [x, *norm.trainable_variables])
        results.append([of_inputs if valid is None else of_inputs[VALID], *others])
    assert not of_inputs[~VALID].numpy().any()
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_padding_has_no_part_in_valid_rows() -> None:
    """The content of padding changes no valid output, no gradient and no statistic."""
    results = []
    for padding in (0.0, -1e3):
        norm, x = layer(), inputs(padding)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = norm(x, valid=tf.constant(VALID), training=True)[0]
            loss = tf.reduce_sum(tf.sin(y))
        results.append([y, *tape.gradient(loss, [x, *norm.trainable_variables]),
                        norm.norm.moving_mean.numpy(), norm.norm.moving_variance.numpy()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    of_inputs = results[0][1].numpy()
    assert not of_inputs[~VALID].any()
    assert of_inputs[VALID].any()


def test_without_a_valid_row_the_remembered_statistics_serve_and_stay() -> None:
    """An empty batch is normalised as in inference and leaves the statistics exactly alone."""
    norm = layer()
    norm.norm.moving_mean.assign([0.1, -1.7, 3.3])
    norm.norm.moving_variance.assign([0.7, 1.1, 2.3])
    before = [v.numpy() for v in norm.norm.variables]
    expected = norm(inputs(), training=False)
    actual = norm(inputs(), valid=tf.zeros([5], tf.bool), training=True)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    for was, variable in zip(before, norm.norm.variables, strict=True):
        np.testing.assert_array_equal(was, variable)


def test_inference_ignores_the_mask() -> None:
    """Outside training validity has no effect."""
    norm = layer()
    np.testing.assert_array_equal(
        norm(inputs(), training=False),
        norm(inputs(), valid=tf.constant(VALID), training=False))


def test_a_low_precision_input_comes_back_in_its_type() -> None:
    """bfloat16 in, bfloat16 out, with statistics in float32."""
    norm = layer()
    y = norm(tf.cast(inputs(), tf.bfloat16), valid=tf.constant(VALID), training=True)
    assert y.dtype == tf.bfloat16
    assert norm.norm.moving_mean.dtype == tf.float32


def test_keras_would_let_padding_in() -> None:
    """Keras's own statistics depend on the padding, so the test above is not trivial."""
    norm = tf_keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON)
    outputs = [norm(inputs(padding), training=True)[0].numpy() for padding in (0.0, 100.0)]
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1


TWO_REPLICAS = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from deepmac_ablate.modeling.normalization import MaskedBatchNormalization

x = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 2)).astype(np.float32)
valid = np.array([[True, False, False], [True, True, False]])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    norm = MaskedBatchNormalization(0.0, 1e-3, synchronized=True)
    norm.build(tf.TensorShape([None, 4, 4, 2]))

def run(x, valid):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = norm(x, valid=valid, training=True)
        loss = tf.reduce_sum(tf.boolean_mask(tf.sin(y), valid))
    return tape.gradient(loss, [x, *norm.trainable_variables])

@tf.function
def step(x, valid):
    return strategy.run(run, args=(x, valid))

def per_replica(values):
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(values[context.replica_id_in_sync_group]))

of_x, *of_variables = step(per_replica(x), per_replica(valid))
keras = tf.keras.layers.BatchNormalization(epsilon=1e-3)
rows = tf.constant(x[valid])
with tf.GradientTape() as tape:
    tape.watch(rows)
    loss = tf.reduce_sum(tf.sin(keras(rows, training=True)))
of_rows, *expected = tape.gradient(loss, [rows, *keras.trainable_variables])
np.testing.assert_allclose(
    np.stack(strategy.experimental_local_results(of_x))[valid], of_rows, rtol=1e-4, atol=1e-5)
for actual, alone in zip(of_variables, expected):
    total = sum(strategy.experimental_local_results(actual))
    np.testing.assert_allclose(total, alone, rtol=1e-4, atol=1e-4)
np.testing.assert_allclose(norm.norm.moving_mean, x[valid].mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
np.testing.assert_allclose(norm.norm.moving_variance, x[valid].var((0, 1, 2)), rtol=1e-4)
"""


@pytest.mark.extended
@pytest.mark.slow
def test_synchronised_statistics_are_those_of_all_replicas() -> None:
    """Two replicas with one and two valid rows share the statistics of the three, and gradients.

    The reference is Keras's layer on these rows, on one device.
    """
    # Virtual devices must be set up before TensorFlow starts: in a process of its own.
    subprocess.run([sys.executable, "-c", TWO_REPLICAS], check=True, timeout=300)


def test_group_norm_is_by_box_and_group() -> None:
    """In numpy: each box's groups of channels are normalised by themselves, padding or not."""
    layer = GroupNorm(groups=2, epsilon=0.01).build()
    x = np.random.default_rng(0).normal(2.0, 3.0, (3, 4, 4, 6)).astype(np.float32)
    grouped = x.reshape(3, 16, 2, 3)
    mean, variance = grouped.mean(axis=(1, 3)), grouped.var(axis=(1, 3))
    expected = (grouped - mean[:, None, :, None]) / np.sqrt(variance[:, None, :, None] + 0.01)
    for valid in (None, tf.constant([True, False, True])):
        actual = layer(tf.constant(x), valid=valid, training=True)
        np.testing.assert_allclose(expected.reshape(x.shape), actual, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("clean_tensorflow")
def test_norms_give_back_the_precision_they_got() -> None:
    """Under mixed precision: bfloat16 in, bfloat16 out, variables in float32."""
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    x = tf.ones([2, 2, 2, 16], tf.bfloat16)
    for norm in (BatchNorm(), GroupNorm()):
        layer = norm.build()
        assert layer(x, training=True).dtype == tf.bfloat16
        assert {variable.dtype for variable in layer.variables} == {tf.float32}
