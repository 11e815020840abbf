"""The backbones: their pyramids, what they refuse, and what their draws are a function of."""

from __future__ import annotations

import functools
import inspect
import threading
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.vision.modeling.backbones import mobilenet, spinenet

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import stochastic_depth
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Backbone, MobileNetFPN, Norm, ResNetFPN, SpineNet
from deepmac_ablate.training import session
from deepmac_ablate.trial.trial import Trial
from tests.helpers import tiny_model, tiny_trial

IMAGE_SIZE = (128, 256)
DECAY = 1e-3
SEED = tf.constant([3, 5])
MOBILENET = {"model_id": "MobileNetV2", "fpn_filters": 8, "width_multiplier": 0.25}
SPINENET = {"model_id": "49", "width_multiplier": 0.125}
TINY: dict[str, Callable[[], Backbone]] = {
    "resnet": lambda: ResNetFPN(10, fpn_filters=8, width_multiplier=0.125),
    "mobilenet_v2": lambda: MobileNetFPN(**MOBILENET),
    "mobilenet_v3_small": lambda: MobileNetFPN(**{**MOBILENET, "model_id": "MobileNetV3Small"}),
    "mobilenet_v3_large": lambda: MobileNetFPN(**{**MOBILENET, "model_id": "MobileNetV3Large"}),
    "spinenet": lambda: SpineNet(**SPINENET),
}
# Class -> its tiny options, and a change of each; ResNet's are in test_model_parameters.py.
CHANGES: dict[type[Backbone], tuple[dict[str, Any], dict[str, Any]]] = {
    MobileNetFPN: (MOBILENET, {
        "model_id": "MobileNetV3Small", "fpn_filters": 12, "width_multiplier": 0.5}),
    SpineNet: (SPINENET, {
        "model_id": "49S", "stochastic_depth_drop_rate": 0.5, "width_multiplier": 0.25}),
}


class Network:
    """A backbone with its decoder, weights away from their first zeros and ones."""

    def __init__(
        self, backbone: Backbone, levels: tuple[int, int] = (3, 5), norm: Norm | None = None
    ) -> None:
        tf_keras.utils.set_random_seed(0)
        self.backbone, self.decoder = backbone.build(
            IMAGE_SIZE, *levels, norm or Norm(momentum=0.9), tf_keras.regularizers.l2(DECAY))
        tiny_model.randomise(self.variables, seed=2)

    @property
    def variables(self) -> list[tf.Variable]:
        """Those of backbone and decoder."""
        return [*self.backbone.variables, *self.decoder.variables]

    def __call__(self, training: bool = False, seed: tf.Tensor = SEED) -> dict[str, tf.Tensor]:
        """The pyramid of two images, always the same."""
        images = np.random.default_rng(0).normal(size=(2, *IMAGE_SIZE, 3)).astype(np.float32)
        with stochastic_depth.seeded(seed):
            return self.decoder(self.backbone(images, training=training), training=training)


EVERY = [
    *("resnet", "mobilenet_v2", "spinenet"),
    *(pytest.param(name, marks=pytest.mark.extended)
      for name in ("mobilenet_v3_small", "mobilenet_v3_large"))]


@functools.cache
def network(name: str) -> Network:
    """One network for all tests that change nothing about it."""
    return Network(TINY[name]())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "levels"), [
    ("resnet", (2, 6)), ("mobilenet_v2", (2, 6)), ("mobilenet_v3_small", (3, 7)),
    *(pytest.param(*case, marks=pytest.mark.extended) for case in (
        ("mobilenet_v3_large", (2, 5)), ("spinenet", (2, 6)), ("spinenet", (3, 7)),
        ("spinenet", (4, 7))))])
def test_a_pyramid_has_the_levels_that_are_asked_for(name: str, levels: tuple[int, int]) -> None:
    """Level l is 2**l times smaller than the image, and all levels have as many channels."""
    pyramid = Network(TINY[name](), levels)()
    channels = 32 if name == "spinenet" else 8
    assert {level: tuple(features.shape) for level, features in pyramid.items()} == {
        str(level): (2, IMAGE_SIZE[0] >> level, IMAGE_SIZE[1] >> level, channels)
        for level in range(levels[0], levels[1] + 1)}


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    *EVERY[:2], pytest.param("spinenet", marks=pytest.mark.extended), *EVERY[3:]])
def test_everything_that_is_built_is_trained(name: str) -> None:
    """Every variable of a whole pyramid has a gradient: no layer hangs at the side."""
    subject = network(name)
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(x**2) for x in subject(training=True).values()])
    variables = [v for v in subject.variables if v.trainable]
    gradients = tape.gradient(loss, variables)
    assert [] == [v.name for v, g in zip(variables, gradients, strict=True) if g is None]


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_decay_reaches_all_kernels_but_depthwise_ones(name: str) -> None:
    """Penalties are the sum of squares of exactly these, biases and normalisations left out."""
    subject = network(name)
    expected = sum(
        DECAY * np.sum(np.square(v.numpy(), dtype=np.float64)) for v in subject.variables
        if "kernel" in v.name and "depthwise" not in v.name)
    actual = sum(float(x) for part in (subject.backbone, subject.decoder) for x in part.losses)
    assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "spinenet"])
def test_the_normalisation_is_everywhere_as_given(name: str) -> None:
    """Momentum, epsilon and synchronisation reach each layer of backbone and decoder."""
    subject = Network(TINY[name](), norm=Norm(momentum=0.7, epsilon=0.02, synchronized=False))
    norms = [layer for part in (subject.backbone, subject.decoder) for layer in part.submodules
             if isinstance(layer, tf_keras.layers.BatchNormalization)]
    assert len(norms) > 30
    assert {(0.7, 0.02, False)} == {(n.momentum, n.epsilon, n.synchronized) for n in norms}


@pytest.mark.slow
@pytest.mark.extended
def test_the_activation_of_spinenet_can_be_chosen() -> None:
    """With swish instead of ReLU the pyramid is another, and goes below zero."""
    swish = Network(TINY["spinenet"](), norm=Norm(activation="swish"))()
    assert float(tf.reduce_min(network("spinenet")()["3"])) == 0.0 > tf.reduce_min(swish["3"])


def seen(backbone: Backbone) -> list[np.ndarray]:
    """Return the visible properties of a backbone: its size, and its pyramid in training."""
    subject = Network(backbone)
    size = sum(np.prod(v.shape) for v in subject.variables)
    return [size, *(x.numpy() for x in subject(training=True).values())]


@functools.cache
def plainly_seen(part: type[Backbone]) -> list[np.ndarray]:
    return seen(part(**CHANGES[part][0]))


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5)
               for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("part", CHANGES, ids=lambda part: part.__name__)
def test_equal_backbones_behave_equally(part: type[Backbone]) -> None:
    """Nothing but the parameters decides: without this the test below would say nothing."""
    assert same(plainly_seen(part), seen(part(**CHANGES[part][0])))


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, (_, changes) in CHANGES.items() for name in changes],
    ids=lambda x: getattr(x, "__name__", x))
def test_each_parameter_matters(part: type[Backbone], name: str) -> None:
    """Changing one argument changes what is seen."""
    options, changes = CHANGES[part]
    assert not same(plainly_seen(part), seen(part(**{**options, name: changes[name]})))


def test_each_parameter_has_a_case() -> None:
    """A new parameter needs a case above, a new backbone too."""
    assert {ResNetFPN, *CHANGES} == set(Backbone.__subclasses__())
    for part, (_, changes) in CHANGES.items():
        assert set(inspect.signature(part).parameters) == set(changes)


def test_all_model_ids_are_model_gardens() -> None:
    """SpineNet offers every network that Model Garden can build, MobileNet only such."""
    def offered(part: type[Backbone]) -> set[str]:
        return set(typing.get_args(typing.get_type_hints(part.__init__)["model_id"]))

    assert offered(SpineNet) == set(spinenet.SCALING_MAP)
    assert offered(MobileNetFPN) <= set(mobilenet.SUPPORTED_SPECS_MAP)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model_id",
    ["MobileNetV2", pytest.param("MobileNetV3Small", marks=pytest.mark.extended)])
def test_weights_of_a_classifier_fit(model_id: str, tmp_path: Path) -> None:
    """A checkpoint of Model Garden's whole MobileNet gives all weights up to the features."""
    size = tf_keras.layers.InputSpec(shape=[None, *IMAGE_SIZE, 3])
    trained = mobilenet.MobileNet(model_id, 0.25, size)
    tiny_model.randomise(trained.variables, seed=3)
    path = tf.train.Checkpoint(backbone=trained).write(str(tmp_path / "classifier"))
    backbone, _ = MobileNetFPN(**{**MOBILENET, "model_id": model_id}).build(
        IMAGE_SIZE, 2, 6, Norm(), None)
    status = tf.train.Checkpoint(backbone=backbone).read(path)
    status.expect_partial().assert_existing_objects_matched()
    images = np.random.default_rng(0).normal(size=(1, *IMAGE_SIZE, 3)).astype(np.float32)
    # Only the epsilon of the normalisation is in no checkpoint.
    for layer in trained.submodules:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.epsilon = Norm().epsilon
    expected = trained(images)
    for level, features in backbone(images).items():
        np.testing.assert_allclose(features, expected[level], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.usefixtures("clean_tensorflow")
@pytest.mark.parametrize("level", ["mobilenet_v2", "mobilenet_v3_small", "spinenet49"])
def test_a_level_builds_in_a_recipe(tiny_recipe: tiny_trial.Recipe, level: str) -> None:
    """After a recipe made for ResNet, a backbone's file is all that is needed."""
    data = tiny_recipe.data
    prepared = session.prepare_session(Trial(
        ("gin/experiments/shapes_small.gin", f"gin/backbones/{level}.gin"),
        (f"TRAIN = '{data}/train'", f"VAL = '{data}/val'", "DATASET = None"), 0, ""))
    levels = range(3, 8) if level == "spinenet49" else range(2, 6)
    assert {str(number) for number in levels} == set(prepared.model.features(
        tf.zeros([1, 128, 128, 3])))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"min_level": 1}, r"Anchors\.min_level = 1 and Anchors\.max_level = 7 do not suit SpineNet, "
                       r"which has levels 2 to 7 \(published: 3 to 7\)\."),
    ({"max_level": 8}, r"Anchors\.min_level = 3 and Anchors\.max_level = 8 do not suit SpineNet"),
    ({"max_level": 5, "image_size": (128, 96)},
     r"MaskRCNN\.image_size = \(128, 96\) does not suit SpineNet, which has blocks of level 7: "
     r"use multiples of 128\."),
    ({"norm": Norm(activation="gelu")},
     r"Norm\.activation = 'gelu' does not suit SpineNet: use 'relu' or 'swish'\."),
])
def test_spinenet_refuses_what_it_cannot_build(arguments: dict[str, Any], message: str) -> None:
    """One sentence names the parameter, its value and what is allowed."""
    plain = {"image_size": (128, 128), "min_level": 3, "max_level": 7, "norm": Norm()}
    with pytest.raises(UserError, match=message):
        SpineNet().build(**{**plain, **arguments}, regularizer=None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2"])
@pytest.mark.parametrize("level", [1, 6])
def test_a_pyramid_starts_where_there_are_features(name: str, level: int) -> None:
    """A finest level that the network has no features of is refused with its range."""
    with pytest.raises(
        UserError, match=rf"Anchors\.min_level = {level} does not suit .* levels 2 to 5"
    ):
        Network(TINY[name](), (level, 7))


def test_images_are_dropped_whole_and_the_rest_is_scaled_up() -> None:
    """Of many images a share of about the drop rate is 0, the others are divided by the rest."""
    layer = stochastic_depth.StochasticDepth(0.25, number=1)
    images = tf.ones([4000, 2, 2, 3])
    with stochastic_depth.seeded(SEED):
        dropped = layer(images, training=True).numpy()
    np.testing.assert_array_equal(dropped, np.broadcast_to(dropped[:, :1, :1, :1], dropped.shape))
    np.testing.assert_allclose(np.unique(dropped), [0.0, 4.0 / 3.0], rtol=1e-6)
    # Five standard deviations of a binomial share.
    assert np.mean(dropped == 0.0) == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 4000) ** 0.5)
    np.testing.assert_array_equal(layer(images, training=False), images)


def test_layers_draw_apart_and_only_within_a_seed() -> None:
    """Two layers drop different images for the same seed; drawing without a seed is an error."""
    images = tf.ones([64, 1, 1, 1])
    one, other = (stochastic_depth.StochasticDepth(0.5, number) for number in (0, 1))
    with stochastic_depth.seeded(SEED):
        assert (one(images, training=True).numpy() != other(images, training=True).numpy()).any()
    with pytest.raises(RuntimeError, match="within `seeded`"):
        one(images, training=True)


def test_a_seed_holds_on_its_thread_alone() -> None:
    """Two replicas that take turns draw as a function of their own seeds, as each would alone."""
    layer, images = stochastic_depth.StochasticDepth(0.5, number=1), tf.ones([64, 1, 1, 1])
    layer(images)

    def draw(seed: int, turn: Callable[[], Any]) -> np.ndarray:
        with stochastic_depth.seeded(tf.constant([0, seed])):
            turn()
            drawn = layer(images, training=True).numpy()
            turn()
        return drawn

    alone = [draw(seed, lambda: None) for seed in (1, 2)]
    assert (alone[0] != alone[1]).any()
    barrier, together = threading.Barrier(2, timeout=60), {}
    threads = [
        threading.Thread(target=lambda s=seed: together.update({s: draw(s, barrier.wait)}))
        for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(alone, [together[1], together[2]])


@pytest.mark.slow
@pytest.mark.extended
def test_later_blocks_of_spinenet_are_dropped_more_often() -> None:
    """Rates grow linearly over the 16 blocks of the permuted network, as upstream's do."""
    backbone, _ = SpineNet(**SPINENET, stochastic_depth_drop_rate=0.8).build(
        IMAGE_SIZE, 2, 7, Norm(), None)
    layers = [x for x in backbone.submodules if isinstance(x, stochastic_depth.StochasticDepth)]
    assert sorted(x.drop_rate for x in layers) == pytest.approx(
        [0.8 * number / 16 for number in range(1, 17)])


@pytest.mark.slow
def test_stochastic_depth_is_a_function_of_the_seed() -> None:
    """The same seed drops the same, whatever was drawn before; another seed drops other images."""
    subject = Network(SpineNet(**SPINENET, stochastic_depth_drop_rate=0.8))

    def pyramid(seed: list[int]) -> np.ndarray:
        return subject(training=True, seed=tf.constant(seed))["3"].numpy()

    first = pyramid([1, 2])
    tf.random.uniform([7])
    again, other = pyramid([1, 2]), pyramid([1, 3])
    rounding = 1e-5 * np.abs(first).max()
    assert np.abs(first - again).max() < rounding
    assert np.abs(first - other).max() > 100 * rounding


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("name", ["mobilenet_v2", "spinenet"])
def test_a_training_step_holds_no_state_of_a_generator(name: str) -> None:
    """The graph of a whole step draws, but has no random operation that could remember."""
    backbone = {
        "mobilenet_v2": TINY["mobilenet_v2"],
        "spinenet": lambda: SpineNet(**SPINENET, stochastic_depth_drop_rate=0.8)}[name]()
    anchors = Anchors(min_level=3, max_level=7, size=2.0, samples_per_image=64)
    size = (128, 128)
    model = tiny_model.build_model(backbone=backbone, anchors=anchors, image_size=size)
    data = tiny_model.batch(image_size=size, anchors=anchors)
    graph = tf.function(lambda: tiny_model.step(model, data).losses).get_concrete_function().graph
    definition = graph.as_graph_def()
    kinds = {node.op for function in (definition, *definition.library.function)
             for node in getattr(function, "node", None) or function.node_def}
    # All draws are hashes of the seed.
    assert "BitwiseXor" in kinds
    assert set() == {kind for kind in kinds if "Random" in kind or "Multinomial" in kind}


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_spinenet_compiles(rate: float) -> None:
    """Under XLA, as on a TPU: the same features in training, stochastic depth included."""
    # How far rounding grows depends on the weights.
    tf_keras.utils.set_random_seed(0)
    images = tf.random.stateless_normal([2, 128, 128, 3], [1, 2])
    network, _ = SpineNet(**SPINENET, stochastic_depth_drop_rate=rate).build(
        (128, 128), 3, 7, Norm(epsilon=0.1), None)

    def features(seed: tf.Tensor) -> dict[str, tf.Tensor]:
        with stochastic_depth.seeded(seed):
            return network(images, training=True)

    seed = tf.Variable([3, 5])
    traced = tf.function(features)
    plain, compiled = traced(seed), tf.function(features, jit_compile=True)(seed)
    assert plain.keys() == compiled.keys()
    # Rounding grows through some fifty normalisations; an image that another step drops moves
    # features by their own size.
    for level, expected in plain.items():
        largest = float(tf.reduce_max(tf.abs(expected)))
        np.testing.assert_allclose(expected, compiled[level], rtol=0, atol=3e-2 * largest)
    other = traced(tf.Variable([3, 6]))
    moved = max(float(tf.reduce_max(tf.abs(other[level] - plain[level]))) for level in plain)
    assert (moved > 0.1) == (rate > 0.0)
