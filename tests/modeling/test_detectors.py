"""The detector is exchangeable: the mask branch does not depend on which one there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from deepmac_ablate import cli
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.evaluator import Evaluation
from deepmac_ablate.modeling.backbones import Norm
from deepmac_ablate.modeling.box_sources import GroundTruthBoxes, ProposalBoxes
from deepmac_ablate.modeling.checkpoints import named_parts
from deepmac_ablate.modeling.detectors import Detector, NoDetector, Regions
from deepmac_ablate.training import run
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers import tiny_model


class CentreDetector(Detector):
    """A user's detector: one box of a fixed size around the cell with the highest score."""

    side = 16.0

    def build(
        self, num_classes: int, image_size: Sequence[int], norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> dict[str, tf_keras.layers.Layer]:
        """Build one convolution."""
        self._size = image_size[0] // 32
        self._scores = tf_keras.layers.Conv2D(num_classes, 1, kernel_regularizer=regularizer)
        return {"centre_head": self._scores}

    def run_layers(self, features: Mapping[str, tf.Tensor], training: bool) -> None:
        """Call the convolution."""
        self._scores(features["5"])

    def label(self, boxes: tf.Tensor, classes: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """Mark the cells of centres with the class; with a Python `if` on a tensor."""
        cells = tf.cast((boxes[:, :2] + boxes[:, 2:]) / 64.0, tf.int32)
        targets = tf.zeros([self._size, self._size], tf.int32)
        if tf.size(classes) > 0:
            targets = tf.tensor_scatter_nd_max(targets, cells, tf.cast(classes, tf.int32))
        return {"centres": targets}

    def train(
        self, features: Mapping[str, tf.Tensor], image_shape: tf.Tensor,
        labels: Mapping[str, Any], seed: tf.Tensor, *, with_losses: bool,
    ) -> tuple[dict[str, Any], Regions | None]:
        """Compute the cross-entropy of all cells, with a loss of its own."""
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels["centres"], self._scores(features["5"])))
        return {"detector_losses": {"centre_loss": loss}}, None

    def detect(
        self, features: Mapping[str, tf.Tensor], image_shape: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Detect one object in each image."""
        scores = tf.nn.softmax(self._scores(features["5"]))[..., 1:]
        flat = tf.reshape(scores, [tf.shape(scores)[0], -1])
        best = tf.argmax(flat, axis=1, output_type=tf.int32)
        classes = scores.shape[-1]
        cell = tf.stack([best // classes // self._size, best // classes % self._size], axis=1)
        centre = tf.cast(cell, tf.float32) * 32.0 + 16.0
        boxes = tf.concat([centre - self.side / 2, centre + self.side / 2], axis=1)
        return {"boxes": boxes[:, tf.newaxis], "classes": (best % classes + 1)[:, tf.newaxis],
                "scores": tf.reduce_max(flat, axis=1, keepdims=True),
                "num_detections": tf.ones_like(best)}


@pytest.mark.slow
def test_a_detector_of_ones_own_labels_in_the_input_pipeline(tiny_recipe) -> None:
    """With AutoGraph, as its `if` depends on a tensor."""
    detector = CentreDetector()
    detector.build(7, (64, 64), Norm(), None)
    data = TrainingData(str(tiny_recipe.data / "train"), 2)
    _, labels = next(iter(data.dataset((64, 64), detector.label, frozenset(), 0)))
    assert (2, 2, 2) == labels["centres"].shape
    assert set(np.unique(labels["centres"])) <= {0, *np.unique(labels["gt_classes"])}
    assert int(tf.reduce_max(labels["centres"])) > 0


def copied(model: tf_keras.Model, other: tf_keras.Model) -> None:
    """Copy the weights of the parts that two models share."""
    parts = named_parts(other)
    for name, part in named_parts(model).items():
        if name in parts:
            parts[name].set_weights(part.get_weights())


@pytest.mark.slow
def test_the_mask_branch_is_the_same_without_a_detector() -> None:
    """In ground-truth boxes: masks, mask loss and the gradients of the head do not change."""
    data = tiny_model.batch()
    with_detector = tiny_model.build_model()
    without = tiny_model.build_model(detector=NoDetector())
    for model in (with_detector, without):
        model.create_variables()
    tiny_model.randomise(with_detector.variables, seed=2)
    copied(with_detector, without)
    full, alone = (tiny_model.step(model, data) for model in (with_detector, without))
    assert {"mask_loss", "regularization_loss", "total_loss"} == alone.losses.keys()
    np.testing.assert_allclose(full.outputs["mask_outputs"], alone.outputs["mask_outputs"])
    assert float(full.losses["mask_loss"]) == pytest.approx(float(alone.losses["mask_loss"]))
    gradients = [
        [g for v, g in zip(model.trainable_variables, step.gradients, strict=True)
         if any(v is own for own in model.mask_head.trainable_variables)]
        for model, step in ((with_detector, full), (without, alone))]
    assert gradients[0]
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert {"backbone", "decoder", "mask_head"} == named_parts(without).keys()


@pytest.mark.extended
@pytest.mark.slow
def test_a_detector_of_ones_own_is_trained_and_detects(tmp_path) -> None:
    """Its labels, losses, parts and detections take the places of Mask R-CNN's."""
    detector = CentreDetector()
    model = tiny_model.build_model(detector=detector)
    model.create_variables()
    assert "centre_head" in named_parts(model)
    data = tiny_model.batch()
    label = tf.function(detector.label)
    centres = tf.stack([
        label(boxes[classes > 0], classes[classes > 0], tiny_model.SEED)["centres"]
        for boxes, classes in zip(data.labels["gt_boxes"], data.labels["gt_classes"], strict=True)])
    step = tiny_model.step(model, data._replace(labels={**data.labels, "centres": centres}))
    losses = {name: float(value) for name, value in step.losses.items()}
    assert {"centre_loss", "mask_loss", "regularization_loss", "total_loss"} == losses.keys()
    assert losses["total_loss"] == pytest.approx(
        losses["centre_loss"] + losses["mask_loss"] + losses["regularization_loss"])
    found = model(data.images, data.image_shape, training=False)
    assert (2, 1, 4) == found["boxes"].shape
    assert found["masks"].shape[:2] == (2, 1)
    before = model.losses
    assert len(before) > len(tiny_model.build_model(detector=NoDetector()).losses)


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow")
def test_the_detector_of_the_docs_is_trained(tiny_recipe, tmp_path, monkeypatch) -> None:
    """Its loss is logged, and its part can be frozen by its name."""
    document = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"
    code = document.read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "parts_of_the_docs.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    trial = tiny_recipe.trial(
        "import parts_of_the_docs", "include 'gin/detectors/none.gin'",
        "MaskRCNN.detector = @ObjectMap()", "Training.steps = 1",
        "Training.freeze = ['object_map']")
    workdir = TrialWorkdir(tmp_path / "trial")
    run.run_trial(trial, workdir, mode="train")
    [line] = workdir.read_metrics()
    assert line["train/object_loss"] > 0


def test_regions_are_refused_without_a_detector_that_has_some() -> None:
    """The sentence names the box source, the detector and what works."""
    with pytest.raises(UserError) as raised:
        tiny_model.build_model(detector=NoDetector(), mask_boxes=ProposalBoxes())
    assert ("MaskRCNN.mask_boxes = @ProposalBoxes() needs the regions of a detector, and "
            "NoDetector has none; use GroundTruthBoxes or") in str(raised.value)
    assert not GroundTruthBoxes().needs_regions


def test_detections_are_refused_without_a_detector() -> None:
    """In evaluation, and if the model is asked for them."""
    model = tiny_model.build_model(detector=NoDetector())
    with pytest.raises(UserError, match=r"'detections', but NoDetector detects nothing; use 'gro"):
        Evaluation(data=None).check_detector(model.detector)
    Evaluation(data=None, box_sources=("groundtruth",)).check_detector(model.detector)
    with pytest.raises(UserError, match="A model with NoDetector detects nothing"):
        model.detect({}, tf.zeros([1, 2]))


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow", "op_by_op")
def test_a_trial_without_a_detector(tiny_recipe, tmp_path, capsys) -> None:
    """It trains, is evaluated in given boxes, and says what it cannot do."""
    trial = tiny_recipe.trial(
        "include 'gin/detectors/none.gin'", "Training.steps = 2", "Runtime.checkpoint_every = 2")
    workdir = TrialWorkdir(tmp_path / "none")
    run.run_trial(trial, workdir)
    result = workdir.read_result()
    sources = {name.partition("/")[0] for name in result if "/" in name}
    assert ({"groundtruth"}, True) == (sources, result["groundtruth/iou/all"] > 0)
    assert "train/rpn_box_loss" not in workdir.read_metrics()[0]
    assert "train/mask_loss" in workdir.read_metrics()[0]
    photos = tiny_recipe.data
    for command, sentence in (
            (["predict", "--workdir", str(workdir.path), "--images", str(photos)],
             "has no detector (NoDetector), so it can only segment objects in given boxes; give"),
            (["export", "--workdir", str(workdir.path)],
             "export it with --input-type image_and_boxes_tensor"),
            (["evaluate", "--workdir", str(workdir.path), "--box-source", "detections"],
             "has 'detections', but NoDetector detects nothing")):
        assert cli.main(command) == 2
        assert sentence in capsys.readouterr().err
