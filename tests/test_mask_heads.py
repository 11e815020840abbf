"""Mask heads: sizes, what each parameter does, and what they refuse."""

from __future__ import annotations

import inspect
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.hourglass import SHAPES
from deepmac_ablate.modeling.mask_heads import ConvMaskHead, HourglassMaskHead, MaskHead
from tests import tiny_model

TINY = {ConvMaskHead: tiny_model.conv_head, HourglassMaskHead: tiny_model.hourglass_head}
CHANGES = {
    ConvMaskHead: {
        "num_convs": 2, "width": 12, "crop_size": 10, "upsample_factor": 3,
        "class_agnostic": False, "sync_norm": True, "norm_momentum": 0.5, "norm_epsilon": 0.1,
        "activation": "swish"},
    HourglassMaskHead: {
        "depth": 20, "width": 6, "crop_size": 12, "upsample_factor": 3, "class_agnostic": False,
        "sync_norm": False, "norm_momentum": 0.5, "norm_epsilon": 0.1, "tail_sync_norm": True,
        "tail_norm_momentum": 0.5, "tail_norm_epsilon": 0.1, "activation": "swish"},
}


def attached(head: MaskHead, channels: int = 5, num_classes: int = 7) -> MaskHead:
    """A head with its variables, random where that tells more."""
    head.attach(num_classes, tf_keras.regularizers.l2(1e-4))
    head(tf.zeros([1, head.crop_size, head.crop_size, channels]), tf.zeros([1], tf.int32))
    return head


def behaviour(head: MaskHead) -> dict[str, Any]:
    """What a head does: its size, masks, statistics and talk with other replicas."""
    attached(head)
    tiny_model.randomise(head.variables, seed=3)
    size = head.crop_size
    x = tf.constant(np.random.default_rng(4).normal(size=(4, size, size, 5)), tf.float32)
    classes, valid = tf.constant([1, 2, 3, 4]), tf.constant([True, True, True, False])
    # On one replica synchronisation changes no number; what it does is to ask the others.
    with mock.patch.object(
        tf.distribute.ReplicaContext, "all_reduce", side_effect=lambda _, values: values
    ) as asked:
        masks = head(x, classes, valid=valid, training=True).numpy()
    return {
        "parameters": head.count_params(),
        "masks": masks,
        "statistics": [v.numpy() for v in head.non_trainable_variables],
        "collectives": asked.call_count,
    }


def differs(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) != len(b) or any(map(differs, a, b))
    return np.shape(a) != np.shape(b) or bool((np.asarray(a) != np.asarray(b)).any())


@pytest.mark.parametrize(
    ("head", "parameter"), [(head, name) for head, of in CHANGES.items() for name in of],
    ids=lambda x: getattr(x, "__name__", x))
def test_each_parameter_matters(head: type[MaskHead], parameter: str) -> None:
    """Changing one parameter changes the parameter count, the masks or the statistics."""
    plain = behaviour(TINY[head]())
    changed = behaviour(TINY[head](**{parameter: CHANGES[head][parameter]}))
    assert any(differs(plain[seen], changed[seen]) for seen in plain)


@pytest.mark.parametrize("head", CHANGES, ids=lambda x: x.__name__)
def test_each_parameter_has_a_case(head: type[MaskHead]) -> None:
    """A new parameter needs a case in the test above."""
    assert set(inspect.signature(head).parameters) == set(CHANGES[head])


def test_every_head_has_cases() -> None:
    """A new head needs cases too."""
    assert set(MaskHead.__subclasses__()) == set(CHANGES)


def test_equal_heads_behave_equally() -> None:
    """Nothing but its parameters decides what a head does."""
    for build in TINY.values():
        one, other = behaviour(build()), behaviour(build())
        assert not any(differs(one[seen], other[seen]) for seen in one)


def hourglass_parameters(depth: int, width: int, channels: int) -> int:
    """Trainable parameters of an hourglass head, counted from its description alone."""

    def conv(size: int, inputs: int, outputs: int) -> int:
        return size * size * inputs * outputs + 2 * outputs

    def block(inputs: int, outputs: int, project: bool) -> int:
        plain = conv(3, inputs, outputs) + conv(3, outputs, outputs)
        return plain + (conv(1, inputs, outputs) if project else 0)

    def stage(level: int) -> int:
        count, outer, inner = shape.blocks[level], widths[level], widths[level + 1]
        total = count * block(outer, outer, False)
        total += block(outer, inner, True) + (count - 1) * block(inner, inner, False)
        if level + 2 < len(widths):
            total += stage(level + 1)
        else:
            total += shape.blocks[-1] * block(inner, inner, False)
        total += (count - 1) * block(inner, inner, False)
        return total + block(inner, outer, inner != outer)

    shape = SHAPES[depth]
    widths = [width * m for m in shape.multipliers]
    body = conv(3, channels, width) + block(width, widths[0], True) + stage(0)
    body += conv(3, widths[0], widths[0])
    return body + tail_parameters(widths[0], width)


def tail_parameters(inputs: int, width: int, factor: int = 2) -> int:
    """Deconvolution with bias, its normalisation, and one logit with bias."""
    return factor * factor * inputs * width + width + 2 * width + width + 1


# Millions of parameters at width 64 on 256 channels, as upstream's heads have them.
UPSTREAM_MILLIONS = {10: 1.76, 20: 5.68, 32: 10.6, 52: 23.6, 100: 47.4}


@pytest.mark.parametrize(
    "depth", [10, 20, *(pytest.param(d, marks=pytest.mark.slow) for d in (32, 52, 100))])
def test_hourglass_heads_have_upstreams_size(depth: int) -> None:
    """Parameters at full width: counted by hand, and upstream's to three digits."""
    head = attached(HourglassMaskHead(depth=depth), channels=256)
    actual = sum(int(np.prod(v.shape)) for v in head.trainable_variables)
    assert hourglass_parameters(depth, 64, 256) == actual
    assert pytest.approx(actual / 1e6, rel=5e-3) == UPSTREAM_MILLIONS[depth]


def test_the_conv_head_has_mask_r_cnns_size() -> None:
    """Four 3x3 convolutions of 256 channels with bias and normalisation, and the tail."""
    head = attached(ConvMaskHead(), channels=256)
    expected = 4 * (9 * 256 * 256 + 256 + 2 * 256) + tail_parameters(256, 256)
    assert expected == sum(int(np.prod(v.shape)) for v in head.trainable_variables)


def test_weight_decay_spares_the_hourglass() -> None:
    """As published: all convolutions of the conv head decay, only the tail of the hourglass."""
    assert len(attached(tiny_model.conv_head(num_convs=3)).losses) == 5
    assert len(attached(tiny_model.hourglass_head()).losses) == 2


@pytest.mark.parametrize("build", TINY.values(), ids=["conv", "hourglass"])
def test_a_class_specific_head_gives_the_mask_of_the_class(build: Any) -> None:
    """Classes select among the logits; padding and unknown classes do no harm."""
    head = attached(build(class_agnostic=False))
    x = tf.random.stateless_normal([1, 8, 8, 5], [1, 2])
    masks = {c: head(x, tf.constant([c])).numpy() for c in (-1, 0, 1, 6)}
    assert (masks[0] != masks[1]).any()
    assert (masks[1] != masks[6]).any()
    assert all(np.isfinite(mask).all() for mask in masks.values())


def test_a_class_agnostic_head_ignores_the_class() -> None:
    """One mask whatever the class, at crop size times the factor."""
    head = attached(tiny_model.conv_head())
    x = tf.random.stateless_normal([1, 8, 8, 5], [1, 2])
    one, other = (head(x, tf.constant([c])).numpy() for c in (1, 6))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (1, 16, 16)
    assert head.mask_size == 16


def test_an_unknown_depth_is_refused() -> None:
    """The message names the value and the known depths."""
    with pytest.raises(
        UserError, match=r"HourglassMaskHead\.depth = 50 is not a known depth: 10, 20, 32, 52, 100"
    ):
        HourglassMaskHead(depth=50)


@pytest.mark.parametrize(("depth", "multiple"), [(10, 2), (20, 4), (32, 8), (52, 32), (100, 32)])
def test_a_crop_that_cannot_be_halved_is_refused(depth: int, multiple: int) -> None:
    """The crop must divide as often as the hourglass halves; the message says by what."""
    with pytest.raises(UserError, match=rf"crop_size = {multiple + 1} does not suit depth {depth}, "
                       rf".*use a multiple of {multiple}\."):
        HourglassMaskHead(depth=depth, crop_size=multiple + 1)
    assert HourglassMaskHead(depth=depth, crop_size=multiple).crop_size == multiple


def test_a_head_needs_to_be_attached() -> None:
    """Called before the model attached it, a head says what is missing."""
    with pytest.raises(RuntimeError, match=r"MaskHead\.attach"):
        tiny_model.conv_head()(tf.zeros([1, 8, 8, 5]), tf.zeros([1], tf.int32))
