"""The optimizer, against Keras's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from deepmac_ablate.modeling.optimization import SGD, constant_rate, warm_up


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_steps_are_those_of_kerass_sgd(clip_norm: float | None, jit_compile: bool) -> None:
    """Variables and momenta follow Keras's own steps, with and without XLA and clipping."""
    start = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    rate = tf_keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.01])
    results = []
    for optimizer in (
        SGD(rate, momentum=0.9, clip_norm=clip_norm),
        tf_keras.optimizers.SGD(
            rate, momentum=0.9, global_clipnorm=clip_norm, jit_compile=False),
    ):
        variable = tf.Variable(start)
        optimizer.build([variable])

        @tf.function(jit_compile=jit_compile)
        def step(variable: tf.Variable, optimizer: tf_keras.optimizers.Optimizer) -> None:
            optimizer.apply_gradients([(2.0 * variable, variable)])

        for _ in range(4):
            step(variable, optimizer)
        results.append([variable.numpy(), optimizer.momentums[0].numpy()])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
    assert np.abs(results[0][0] - start).max() > 0.1


def test_a_constant_rate_follows_the_warm_up():
    """The warm-up rises to it in a line, and it stays."""
    rate = warm_up(constant_rate(0.2), steps=4, start=0.1)
    expected = [0.1, 0.125, 0.15, 0.175, 0.2, 0.2, 0.2]
    steps = [0, 1, 2, 3, 4, 5, 10**6]
    np.testing.assert_allclose([float(rate(step)) for step in steps], expected, rtol=1e-6)
