"""Mask heads: sizes, what each parameter does, and what they refuse."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.hourglass import SHAPES
from deepmac_ablate.modeling.mask_heads import (
    ConvMaskHead,
    Deconvolution,
    FullyConnectedMaskHead,
    FullyConvolutionalMaskHead,
    HourglassMaskHead,
    Interpolation,
    MaskHead,
    ResNetMaskHead,
    SeparableConvMaskHead,
)
from deepmac_ablate.modeling.normalization import BatchNorm, GroupNorm
from deepmac_ablate.sweep.validation import multiply_adds
from tests.helpers import tiny_model

TINY = {
    ConvMaskHead: tiny_model.conv_head,
    SeparableConvMaskHead: tiny_model.separable_head,
    HourglassMaskHead: tiny_model.hourglass_head,
    ResNetMaskHead: tiny_model.resnet_head,
    FullyConnectedMaskHead: tiny_model.fully_connected_head,
}
CONV_CHANGES = {
    "num_convs": 2, "width": 12, "crop_size": 10, "upsampling": Deconvolution(3),
    "class_agnostic": False, "norm": BatchNorm(0.5), "activation": "swish"}
CHANGES = {
    ConvMaskHead: CONV_CHANGES,
    SeparableConvMaskHead: CONV_CHANGES,
    HourglassMaskHead: {
        "depth": 20, "width": 6, "crop_size": 12, "downsampling": False, "shortcuts": False,
        "upsampling": Deconvolution(3), "class_agnostic": False, "norm": BatchNorm(0.5, 1e-3),
        "tail_norm": BatchNorm(0.5), "weight_decay": False, "activation": "swish"},
    ResNetMaskHead: {
        "depth": 8, "width": 6, "crop_size": 10, "upsampling": Deconvolution(3),
        "class_agnostic": False, "norm": BatchNorm(0.5), "activation": "swish"},
    FullyConnectedMaskHead: {
        "width": 6, "num_fcs": 2, "fc_dims": 12, "crop_size": 10, "mask_size": 10,
        "class_agnostic": False, "activation": "swish"},
}
# Part of a head -> what it is exchanged for; all differ from each other and from the default.
PARTS = {
    "norm": [
        BatchNorm(), BatchNorm(momentum=0.5), BatchNorm(epsilon=0.1),
        BatchNorm(synchronized=False), GroupNorm(groups=4), GroupNorm(groups=2),
        GroupNorm(groups=4, epsilon=0.1)],
    "upsampling": [
        Deconvolution(), Deconvolution(factor=3), Interpolation(), Interpolation(factor=3),
        Interpolation(method="nearest")],
}


def attached(head: MaskHead, channels: int = 5, num_classes: int = 7) -> MaskHead:
    """A head with its variables, random where that tells more."""
    head.attach(num_classes, tf_keras.regularizers.l2(1e-4))
    head(tf.zeros([1, head.crop_size, head.crop_size, channels]), tf.zeros([1], tf.int32))
    return head


def behaviour(head: MaskHead) -> dict[str, Any]:
    """Return visible properties of a head: size, masks, statistics, exchange between replicas."""
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
        "decayed": len(head.losses),
    }


def differs(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) != len(b) or any(map(differs, a, b))
    return np.shape(a) != np.shape(b) or bool((np.asarray(a) != np.asarray(b)).any())


@pytest.mark.slow
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

    def below(cls: type) -> set[str]:
        own = {cls.__name__} if cls.__module__.startswith("deepmac_ablate.") else set()
        return own.union(*map(below, cls.__subclasses__()))

    # By name: gin makes a subclass of each for itself.
    abstract = {MaskHead.__name__, FullyConvolutionalMaskHead.__name__}
    assert below(MaskHead) - abstract == {cls.__name__ for cls in CHANGES}


@pytest.mark.parametrize(
    ("part", "one", "other"),
    [(part, one, other) for part, of in PARTS.items()
     for one, other in itertools.combinations(of, 2)],
    ids=repr)
def test_norms_and_upsamplings_differ(part: str, one: Any, other: Any) -> None:
    """Each parameter of what a head is composed of changes what it does."""
    seen = [behaviour(tiny_model.conv_head(**{part: each})) for each in (one, other)]
    assert any(differs(seen[0][name], seen[1][name]) for name in seen[0])


@pytest.mark.parametrize("part", PARTS)
def test_each_parameter_of_a_part_has_a_case(part: str) -> None:
    """A new parameter of a norm or an up-sampling needs a case above."""
    for cls in {type(each) for each in PARTS[part]}:
        cases = [each for each in PARTS[part] if type(each) is cls]
        for field in dataclasses.fields(cls):
            assert len({getattr(case, field.name) for case in cases}) > 1, field.name


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


# Head -> millions of parameters and 1e9 multiply-adds per box at width 64 on 256 channels, by
# arithmetic from upstream's layers (3 digits).
UPSTREAM_COSTS = {
    "HG-10": (HourglassMaskHead, {"depth": 10}, 1.76, 1.10),
    "HG-20": (HourglassMaskHead, {"depth": 20}, 5.68, 1.41),
    "HG-32": (HourglassMaskHead, {"depth": 32}, 10.6, 1.93),
    "HG-52": (HourglassMaskHead, {"depth": 52}, 23.6, 1.95),
    "HG-100": (HourglassMaskHead, {"depth": 100}, 47.4, 3.35),
    "HG-20 uniform": (HourglassMaskHead, {"depth": 20, "downsampling": False}, 5.67, 5.79),
    "HG-20 no shortcut": (HourglassMaskHead, {"depth": 20, "shortcuts": False}, 4.80, 0.96),
    "default": (ConvMaskHead, {}, 2.63, 0.51),
    "default, crop 32": (ConvMaskHead, {"crop_size": 32}, 2.63, 2.69),
}
LARGE = {"HG-32": (), "HG-52": (pytest.mark.extended,), "HG-100": (pytest.mark.extended,)}


@pytest.mark.parametrize(
    "name", [
        pytest.param(name, marks=[pytest.mark.slow, *LARGE[name]] if name in LARGE else [])
        for name in UPSTREAM_COSTS])
def test_heads_have_upstreams_size_and_cost(name: str) -> None:
    """Parameters and multiply-adds per box at full width are those of upstream's layers."""
    cls, options, millions, giga_macs = UPSTREAM_COSTS[name]
    head = attached(cls(**options), channels=256)
    actual = sum(int(np.prod(v.shape)) for v in head.trainable_variables)
    assert pytest.approx(actual / 1e6, rel=5e-3) == millions
    assert pytest.approx(giga_multiply_adds(head, 256), rel=1e-2) == giga_macs
    if cls is HourglassMaskHead and len(options) == 1:
        assert hourglass_parameters(options["depth"], 64, 256) == actual


def giga_multiply_adds(head: MaskHead, channels: int) -> float:
    """Count those that a head runs for one box, in 10^9."""
    graph = tf.function(lambda x: head(x, tf.zeros([1], tf.int32), training=False))
    concrete = graph.get_concrete_function(
        tf.TensorSpec([1, head.crop_size, head.crop_size, channels]))
    return multiply_adds.count_multiply_adds(concrete.graph) / 1e9


@pytest.mark.parametrize("depth", [4, 8, 12, 16, 20])
def test_residual_heads_are_as_deep_as_their_name(depth: int) -> None:
    """Two 3x3 convolutions a block, counted; parameters counted by hand."""
    head = attached(ResNetMaskHead(depth=depth, width=4), channels=5)
    assert depth == 2 * len(head.blocks)
    expected, channels = 5 * 4 + 4, 4
    for i in range(depth // 2):
        filters = 12 if i >= 8 else 8
        expected += 2 * channels + 9 * channels * filters + 2 * filters
        expected += 9 * filters * filters + 2 * filters
        expected += channels * filters + filters if filters != channels else 0
        channels = filters
    expected += tail_parameters(channels, 4)
    assert expected == sum(int(np.prod(v.shape)) for v in head.trainable_variables)


def test_a_residual_head_computes_its_blocks() -> None:
    """Inference in numpy, block by block: pre-activation, two convolutions, shortcut."""
    head = attached(ResNetMaskHead(depth=4, width=2, crop_size=4), channels=3)
    tiny_model.randomise(head.variables, seed=5)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)

    def conv(x: np.ndarray, layer: tf_keras.layers.Conv2D) -> np.ndarray:
        kernel = layer.kernel.numpy()
        pad = kernel.shape[0] // 2
        padded = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], (1, 2))
        out = np.einsum("nhwcij,ijco->nhwo", windows, kernel)
        return out + (layer.bias.numpy() if layer.use_bias else 0.0)

    def relu_norm(x: np.ndarray, norm: Any) -> np.ndarray:
        norm = norm.norm
        scale = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        return np.maximum((x - norm.moving_mean.numpy()) * scale + norm.beta.numpy(), 0.0)

    y = conv(x, head.stem)
    for block in head.blocks:
        first = relu_norm(y, block.norms[0])
        inner = relu_norm(conv(first, block.convs[0]), block.norms[1])
        inner = relu_norm(conv(inner, block.convs[1]), block.norms[2])
        y = inner + (y if block.project is None else conv(first, block.project))
    np.testing.assert_allclose(
        y, head.body(tf.constant(x), None, training=False), rtol=1e-4, atol=1e-5)


def test_a_fully_connected_head_sees_the_whole_crop_everywhere() -> None:
    """Every pixel of the mask depends on every cell of the crop; sizes are by hand."""
    head = attached(tiny_model.fully_connected_head())
    assert (5 * 4 + 4) + (8 * 8 * 4 * 16 + 16) + (16 * 144 + 144) == head.count_params()
    tiny_model.randomise(head.variables, seed=3)
    x = tf.Variable(tf.random.stateless_normal([1, 8, 8, 5], [1, 2]))
    with tf.GradientTape() as tape:
        mask = head(x, tf.constant([1]))
        corner = mask[0, 0, 0]
    reach = np.abs(tape.gradient(corner, x).numpy()).sum(axis=(0, 3))
    assert mask.shape == (1, 12, 12)
    assert (reach > 0).all()


@pytest.mark.parametrize(
    ("upsampling", "neighbours"),
    [(Deconvolution(), False), (Interpolation(), True), (Interpolation(method="nearest"), True)],
    ids=repr)
def test_only_interpolation_connects_the_pixels_of_neighbouring_cells(
    upsampling: Any, neighbours: bool
) -> None:
    """A deconvolution's pixel depends on its own cell alone."""
    layer = upsampling.build(1, None)
    x = tf.Variable(tf.random.stateless_normal([1, 4, 4, 3], [1, 2]))
    with tf.GradientTape() as tape:
        pixel = layer(x)[0, 2, 2, 0]  # of cell (1, 1)
    reach = np.abs(tape.gradient(pixel, x).numpy()).sum(axis=(0, 3)) > 0
    assert reach[1, 1]
    assert neighbours == bool(reach.sum() > 1)


@pytest.mark.parametrize("factor", [2, 3])
def test_interpolation_is_tensorflows(factor: int) -> None:
    """Bilinear and nearest interpolation before the convolution are those of `tf.image`."""
    x = tf.random.stateless_normal([2, 5, 5, 3], [1, 2])
    for method in ("bilinear", "nearest"):
        layer = Interpolation(factor, method).build(3, None)
        layer(x)
        only_the_middle = np.zeros(layer.conv.kernel.shape, np.float32)
        only_the_middle[1, 1] = np.eye(3)
        layer.conv.kernel.assign(only_the_middle)
        expected = tf.image.resize(x, [5 * factor, 5 * factor], method)
        np.testing.assert_allclose(expected, layer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [*(pytest.param(build(), id=cls.__name__, marks=(
        () if cls in (ConvMaskHead, HourglassMaskHead) else pytest.mark.extended))
       for cls, build in TINY.items()),
     *(pytest.param(tiny_model.conv_head(upsampling=each), id=repr(each),
                    marks=pytest.mark.extended) for each in PARTS["upsampling"][1:]),
     pytest.param(tiny_model.conv_head(norm=GroupNorm(4)), id="GroupNorm",
                  marks=pytest.mark.extended),
     pytest.param(tiny_model.hourglass_head(depth=20, shortcuts=False), id="no shortcuts",
                  marks=pytest.mark.extended),
     pytest.param(tiny_model.hourglass_head(depth=20, downsampling=False), id="uniform",
                  marks=pytest.mark.extended),
     # Its lowest resolution is one cell of three boxes; a large epsilon keeps rounding small.
     pytest.param(tiny_model.hourglass_head(
         depth=52, crop_size=32, norm=BatchNorm(0.9, 0.5)), id="HG-52",
         marks=pytest.mark.extended)])
def test_each_head_compiles(head: MaskHead) -> None:
    """Under XLA, as on a TPU: the same masks and gradients as without it."""
    attached(head)
    tiny_model.randomise(head.variables, seed=3)
    size = head.crop_size
    x = tf.random.stateless_normal([4, size, size, 5], [1, 2])

    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            masks = head(x, tf.constant([1, 2, 3, -1]),
                         valid=tf.constant([True, True, True, False]), training=True)
            loss = tf.reduce_mean(tf.square(masks[:3]))
        # The row of padding means nothing.
        return masks[:3], tape.gradient(loss, head.trainable_variables)

    plain, compiled = step(), tf.function(step, jit_compile=True)()
    for expected, actual in zip(
            tf.nest.flatten(plain), tf.nest.flatten(compiled), strict=True):
        # The gradient of a bias that a normalisation follows is zero but for rounding.
        largest = max(float(tf.reduce_max(tf.abs(expected))), 1e-2)
        np.testing.assert_allclose(expected, actual, rtol=0, atol=1e-3 * largest)


def test_groups_must_divide_the_channels() -> None:
    """The message names the groups and the channels."""
    with pytest.raises(UserError, match=r"GroupNorm\.groups = 3 does not divide the 8 channels"):
        attached(tiny_model.conv_head(norm=GroupNorm(3)))


def test_an_unknown_depth_of_the_residual_head_is_refused() -> None:
    """The message names the depths that there are."""
    with pytest.raises(UserError, match=r"ResNetMaskHead\.depth = 6 is not a known depth: 4, 8"):
        ResNetMaskHead(depth=6)


def test_the_conv_head_has_mask_r_cnns_size() -> None:
    """Four 3x3 convolutions of 256 channels with bias and normalisation, and the tail."""
    head = attached(ConvMaskHead(), channels=256)
    expected = 4 * (9 * 256 * 256 + 256 + 2 * 256) + tail_parameters(256, 256)
    assert expected == sum(int(np.prod(v.shape)) for v in head.trainable_variables)


def test_weight_decay_covers_every_kernel_by_default() -> None:
    """All kernels decay; without `weight_decay`, as published, only the hourglass's tail."""
    for build in TINY.values():
        head = attached(build())
        kernels = [v for v in head.trainable_variables if "kernel" in v.name]
        assert len(kernels) == len(head.losses)
    assert len(attached(tiny_model.hourglass_head(weight_decay=False)).losses) == 2


@pytest.mark.parametrize("build", TINY.values(), ids=[cls.__name__ for cls in TINY])
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


def test_a_crop_of_any_size_suits_an_hourglass_that_does_not_halve_it() -> None:
    """Without down-sampling nothing has to divide."""
    head = attached(tiny_model.hourglass_head(depth=20, downsampling=False, crop_size=7))
    assert head(tf.zeros([1, 7, 7, 5]), tf.constant([1])).shape == (1, 14, 14)


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
