"""Initialisation of the convolutions of mask heads."""

from __future__ import annotations

import tf_keras


def fan_out() -> tf_keras.initializers.Initializer:
    """Return a normal initialiser of variance 2 / (kernel area * channels) (arXiv:1502.01852)."""
    return tf_keras.initializers.VarianceScaling(
        scale=2, mode="fan_out", distribution="untruncated_normal")
