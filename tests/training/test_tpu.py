"""Checks for TPUs that work without one: XLA supports all operations, and shapes are static.

A TPU runs what XLA compiles. The kernels that XLA has for CPUs are, but for a few, those that it
has for TPUs; this TensorFlow lists only the former.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.detectors.region_parts import Detections, StaticDetections
from deepmac_ablate.training.run import run_trial
from deepmac_ablate.training.runtime import Runtime
from deepmac_ablate.training.session import Session, prepare_session
from deepmac_ablate.training.trainer import Trainer
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers.tiny_trial import Recipe

# What a TPU would build for `@Detections()`.
STATIC = "MaskRCNN.detections = @StaticDetections()"
TINY_STATIC = (
    STATIC, "StaticDetections.max_per_image = 5", "StaticDetections.score_threshold = 0.01")
HEADS = {
    "default": (),
    "hourglass-52": ("MaskRCNN.mask_head = @HourglassMaskHead()", "HourglassMaskHead.depth = 52",
                     "HourglassMaskHead.width = 4", "HourglassMaskHead.crop_size = 32"),
    "resnet": ("MaskRCNN.mask_head = @ResNetMaskHead()", "ResNetMaskHead.depth = 4",
               "ResNetMaskHead.width = 4", "ResNetMaskHead.crop_size = 8"),
    "proposals": ("MaskRCNN.mask_boxes = @ProposalBoxes()",),
    "jittered": ("MaskRCNN.mask_boxes = @JitteredGroundTruthBoxes()",
                 "JitteredGroundTruthBoxes.ratio = 0.1"),
    "spinenet": ("IMAGE_SIZE = (128, 128)", "MaskRCNN.backbone = @SpineNet()",
                 "SpineNet.width_multiplier = 0.125", "SpineNet.stochastic_depth_drop_rate = 0.2",
                 "Anchors.min_level = 3", "Anchors.max_level = 7"),
}

pytestmark = pytest.mark.usefixtures("clean_tensorflow")


def graphs(session: Session) -> Iterator[tuple[str, tf.Graph]]:
    """The step of training and what evaluation runs, drawn as for a device; nothing is computed."""
    model, training_of = session.model, session.training
    data = training_of.data.dataset(
        model.image_size, model.detector.label, training_of.seen_ids, seed=0)
    trainer = Trainer(
        model, training_of.losses, session.optimizer, session.strategy, jit_compile=True)

    def step(images: tf.Tensor, labels: dict[str, Any]) -> dict[str, tf.Tensor]:
        return session.strategy.run(trainer.replica_step, args=(images, labels))

    yield "train", tf.function(step).get_concrete_function(*data.element_spec).graph
    drawn = tf.function(model.features).get_concrete_function(
        tf.TensorSpec([2, *model.image_size, 3]))
    yield "features", drawn.graph
    features = tf.nest.map_structure(
        lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), drawn.structured_outputs)
    yield "detect", tf.function(model.detect).get_concrete_function(
        features, tf.TensorSpec([2, 2])).graph
    number = tf.TensorSpec([16], tf.int32)
    yield "masks", tf.function(model.predict_masks).get_concrete_function(
        features, tf.TensorSpec([16, 4]), number, number).graph


def without_kernel(graph: tf.Graph) -> set[str]:
    """The types of operations, in functions too, that XLA cannot compile."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    # Arguments of functions.
    types = {node.op for node in nodes} - {"Placeholder"}
    return {
        op for op in types if "XLA_CPU_JIT" not in {
            kernel.device_type for kernel in kernels.get_registered_kernels_for_op(op).kernel}}


def of_dynamic_shape(graph: tf.Graph) -> set[str]:
    """The names of operations that give tensors whose shape is only known when they run."""
    return {
        op.name for op in graph.get_operations() for out in op.outputs
        # Without a rank are only the handles of variables and the room that cuDNN asks for.
        if out.shape.rank is not None and not out.shape.is_fully_defined()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["default", *(pytest.param(head, marks=pytest.mark.extended) for head in HEADS
                          if head != "default")])
def test_xla_has_every_operation(tiny_recipe: Recipe, kind: str) -> None:
    """XLA compiles every operation of the step and of evaluation, and all shapes are static."""
    session = prepare_session(tiny_recipe.trial(*HEADS[kind], *TINY_STATIC))
    drawn = dict(graphs(session))
    for name, graph in drawn.items():
        assert set() == without_kernel(graph), name
        assert set() == of_dynamic_shape(graph), name
    # Gradients and their use are among them.
    assert {"Conv2DBackpropFilter", "AssignAddVariableOp"} <= {
        op.type for op in drawn["train"].get_operations()}


@pytest.mark.slow
@pytest.mark.extended
def test_a_kernel_for_cpus_only_is_detected(tiny_recipe: Recipe) -> None:
    """XLA lacks the kernel of `Detections` for CPUs, which the test above would detect."""
    drawn = dict(graphs(prepare_session(tiny_recipe.trial())))
    assert {"CombinedNonMaxSuppression"} == without_kernel(drawn["detect"])


def test_on_a_tpu_detections_are_static(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Detections` adapts to a TPU without a binding, so that the trial's id stays the same."""
    asked = Detections(7, 0.2, 0.6)
    elsewhere = asked.build().get_config()
    strategy = object.__new__(tf.distribute.TPUStrategy)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    built = asked.build().get_config()
    assert ("batched", "v2") == (elsewhere["nms_version"], built["nms_version"])
    assert StaticDetections(7, 0.2, 0.6).build().get_config() == built


@pytest.mark.slow
@pytest.mark.extended
def test_a_trial_compiled_in_bfloat16_trains(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """The first losses of the compiled step are close to those of float32 without XLA."""
    workdirs = [TrialWorkdir(tmp_path / name) for name in ("exact", "as_on_a_tpu")]
    # XLA has no gradient of max pooling for those who ask for determinism; a TPU is not asked.
    runtime = ["Runtime.deterministic = False"]
    run_trial(tiny_recipe.trial("STEPS = 3"), workdirs[0], "train", runtime)
    run_trial(
        tiny_recipe.trial("STEPS = 3", "Training.precision = 'bfloat16'", *TINY_STATIC),
        workdirs[1], "train", [*runtime, "Runtime.jit_compile = True"])
    exact, rough = (workdir.read_metrics() for workdir in workdirs)
    assert [1, 2, 3] == [line["step"] for line in rough]
    assert rough[0]["train/mask_boxes"] == exact[0]["train/mask_boxes"] > 0
    for one, other in zip(exact, rough, strict=True):
        assert one["train/total_loss"] == pytest.approx(other["train/total_loss"], rel=0.05)
        assert one["train/total_loss"] != other["train/total_loss"]


@pytest.mark.slow
@pytest.mark.extended
def test_evaluation_compiles(tiny_recipe: Recipe) -> None:
    """Features, scores and masks in boxes are the same with and without XLA.

    Boxes are not compared: without training all score alike, and rounding decides which are best.
    """
    model = prepare_session(tiny_recipe.trial(*TINY_STATIC)).model
    images = tf.random.stateless_normal([2, *model.image_size, 3], [1, 2])
    shape = tf.constant([model.image_size] * 2, tf.float32)

    boxes = tf.constant([[0.0, 0.0, 40.0, 30.0], [5.0, 8.0, 60.0, 64.0]])

    def predict(jit: bool) -> dict[str, np.ndarray]:
        features = tf.function(model.features, jit_compile=jit)(images)
        found = tf.function(model.detect, jit_compile=jit)(features, shape)
        masks = tf.function(model.predict_masks, jit_compile=jit)(
            features, boxes, tf.constant([0, 1]), tf.constant([1, 2]))
        return {**features, "masks": masks, "scores": found["scores"],
                "number": found["num_detections"]}

    plain, compiled = predict(False), predict(True)
    assert [5, 5] == plain["number"].numpy().tolist()
    for name, value in plain.items():
        np.testing.assert_allclose(compiled[name], value, rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.slow
def test_a_tensorflow_without_tpus_is_named() -> None:
    """The message names the package to install."""
    with pytest.raises(UserError, match=r"does not support TPUs: .* tensorflow-tpu in place"):
        Runtime(strategy="tpu").create_strategy()


@pytest.mark.slow
def test_a_tpu_is_not_asked_for_determinism() -> None:
    """The setting is ignored on a TPU, where TensorFlow would refuse to compile it."""
    assert Runtime(strategy="one_device", deterministic=True).deterministic
    assert not Runtime(strategy="tpu", deterministic=True).deterministic


@pytest.mark.slow
def test_a_tpu_without_address_is_named() -> None:
    """A name that no cloud resolves is refused, and the message names the valid addresses."""
    with pytest.raises(UserError, match=r"no TPU answers at Runtime\.tpu = 'nowhere' \(.*'local'"):
        Runtime(strategy="tpu", tpu="nowhere").create_strategy()
