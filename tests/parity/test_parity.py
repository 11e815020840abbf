"""Our model computes what the paper's published code computes, in float32, to rounding."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate.modeling.box_sources import GroundTruthBoxes
from tests.helpers import tiny_model
from tests.parity import upstream

SPECIFIC = upstream.Case("default", "proposals", class_agnostic=False)
CASES = [
    SPECIFIC,
    upstream.Case("hourglass20", "ground_truth"),
    *(pytest.param(case, marks=pytest.mark.extended) for case in (
        upstream.Case("default", "ground_truth"),
        upstream.Case("default", "proposals"),
        upstream.Case("hourglass52", "proposals"),
        upstream.Case("hourglass52", "proposals", class_agnostic=False),
        upstream.Case("hourglass52", "ground_truth"),
        upstream.Case("hourglass100", "ground_truth"),
        upstream.Case("separable", "ground_truth"),
        upstream.Case("default", "ground_truth", backbone="spinenet49"),
        upstream.Case("hourglass20", "proposals", backbone="spinenet49"),
    )),
]
pytestmark = pytest.mark.slow


class Compared(NamedTuple):
    """The results of both models of a pair for the same batch."""

    pair: upstream.Pair
    their_detections: dict[str, Any]
    our_detections: dict[str, Any]
    theirs: tiny_model.Step
    ours: tiny_model.Step


@pytest.fixture(scope="module", params=CASES, ids=str)
def compared(request: pytest.FixtureRequest) -> Compared:
    pair = upstream.build(request.param)
    data = request.param.batch()
    regions = tiny_model.regions(data)
    detections = [
        model(data.images, image_shape=data.image_shape, training=False)
        for model in (pair.upstream, pair.ours)
    ]
    return Compared(
        pair, *detections,
        upstream.upstream_step(pair, data, regions), upstream.our_step(pair, data, regions))


def assert_near(expected: tf.Tensor, actual: tf.Tensor, tolerance: float = 1e-5) -> None:
    """Equal up to `tolerance` of the largest expected number."""
    expected, actual = np.asarray(expected), np.asarray(actual)
    actual = actual.reshape(expected.shape)
    largest = np.abs(expected).max(initial=0.0)
    assert largest > 0.0
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=tolerance * largest)


def test_training_outputs_equal_upstreams(compared: Compared) -> None:
    """All training outputs agree to 1e-5 of the largest."""
    theirs, ours = compared.theirs.outputs, compared.ours.outputs
    for level, scores in theirs["rpn_scores"].items():
        assert_near(scores, ours["rpn_scores"][level])
        assert_near(theirs["rpn_boxes"][level], ours["rpn_boxes"][level])
    for name in ("class_outputs", "box_outputs", "box_targets", "class_targets", "mask_outputs"):
        assert_near(theirs[name], ours[name])


def test_mask_targets_equal_upstreams(compared: Compared) -> None:
    """The mask inside each object's box is the same; background has none that counts."""
    classes = compared.theirs.outputs["mask_class_targets"].numpy()
    targets = compared.theirs.outputs["mask_targets"].numpy()
    ours = compared.ours.outputs["mask_targets"].numpy().reshape(targets.shape)
    assert (classes > 0).any()
    assert_near(targets[classes > 0], ours[classes > 0])


def test_detections_equal_upstreams(compared: Compared) -> None:
    """Detected boxes, classes, scores and the masks inside them are the same."""
    theirs, ours = compared.their_detections, compared.our_detections
    assert theirs["num_detections"].numpy().min() > 0
    np.testing.assert_array_equal(theirs["num_detections"], ours["num_detections"])
    np.testing.assert_array_equal(theirs["detection_classes"], ours["classes"])
    assert_near(theirs["detection_boxes"], ours["boxes"])
    assert_near(theirs["detection_scores"], ours["scores"])
    assert_near(theirs["detection_masks"], ours["masks"])


def test_losses_equal_upstreams(compared: Compared) -> None:
    """Each loss and their sum with weight decay agree to 1e-5, masks of novel classes left out."""
    theirs, ours = compared.theirs.losses, compared.ours.losses
    for name, our_name in {
        "rpn_score_loss": "rpn_score_loss",
        "rpn_box_loss": "rpn_box_loss",
        "frcnn_cls_loss": "class_loss",
        "frcnn_box_loss": "box_loss",
        "mask_loss": "mask_loss",
        "total_loss": "total_loss",
    }.items():
        assert float(theirs[name]) == pytest.approx(float(ours[our_name]), rel=1e-5), name
    decay = float(theirs["total_loss"]) - float(theirs["model_loss"])
    assert decay == pytest.approx(float(ours["regularization_loss"]), rel=1e-3)


def gradients_that_differ(
    pair: upstream.Pair, theirs: tiny_model.Step, ours: tiny_model.Step
) -> list[str]:
    """Name the variables whose gradients do not agree to the case's share of their size.

    The gradient of a bias that a batch normalisation follows is zero but for rounding; there it
    is bounded by a hundredth of that share of the largest gradient instead.
    """
    trained = [their for their, _ in pair.variables if their.trainable]
    expected = [tf.convert_to_tensor(g).numpy() for g in theirs.gradients]
    actual = [tf.convert_to_tensor(g).numpy() for g in ours.gradients]
    least = max(np.linalg.norm(g) for g in expected) / 100
    return [
        variable.name
        for variable, one, other in zip(trained, expected, actual, strict=True)
        if not np.linalg.norm(one - other)
        <= pair.case.gradient_tolerance * (np.linalg.norm(one) + least)]


def test_gradients_equal_upstreams(compared: Compared) -> None:
    """Every tensor's gradient agrees to 1e-5 of its own size (SpineNet's to 5e-5).

    A rectifier's gradient jumps at 0. Where rounding puts one of its inputs on the other side,
    which depends on the processor, that batch cannot be compared; a mistake differs in all.
    """
    pair = compared.pair
    differ = gradients_that_differ(pair, compared.theirs, compared.ours)
    for seed in (1, 2):
        if differ:
            data = pair.case.batch(seed)
            regions = tiny_model.regions(data)
            differ = gradients_that_differ(
                pair, upstream.upstream_step(pair, data, regions),
                upstream.our_step(pair, data, regions))
    assert not differ


def test_moving_statistics_equal_upstreams(compared: Compared) -> None:
    """After one training step the batch-norm statistics agree, padding in them included."""
    for theirs, ours in compared.pair.variables:
        if not theirs.trainable:
            assert_near(theirs, ours)


def test_masks_in_given_boxes_equal_upstreams(compared: Compared) -> None:
    """Prompted with boxes, both give the same masks."""
    pair, data = compared.pair, compared.pair.case.batch()
    # Upstream asks a class-specific head for class 0, whatever the box holds.
    boxes, classes = data.labels["gt_boxes"], tf.zeros_like(data.labels["gt_classes"])
    # Both models moved their own statistics in the step before, equal only up to rounding.
    pair.copy_weights()
    expected = pair.upstream.call_images_and_boxes(data.images, boxes)["detection_masks"]
    actual = pair.ours.predict_masks(
        pair.ours.features(data.images), tf.reshape(boxes, [-1, 4]),
        tf.repeat(tf.range(boxes.shape[0]), boxes.shape[1]), tf.reshape(classes, [-1]))
    assert_near(expected, tf.reshape(actual, expected.shape))


@pytest.mark.parametrize("compared", [SPECIFIC], indirect=True, ids=str)
def test_padding_crashes_upstreams_class_specific_head_but_not_ours(compared: Compared) -> None:
    """With ground-truth boxes upstream looks up the mask of class -1; ours trains."""
    pair, data = compared.pair, compared.pair.case.batch()
    regions = tiny_model.regions(data)
    with (
        mock.patch.dict(pair.upstream._config_dict, use_gt_boxes_for_masks=True),
        pytest.raises(tf.errors.InvalidArgumentError, match="-1 is not in"),
    ):
        upstream.upstream_step(pair, data, regions)
    with mock.patch.object(pair.ours, "_mask_boxes", GroundTruthBoxes()):
        ours = upstream.our_step(pair, data, regions)
    assert np.isfinite(float(ours.losses["mask_loss"]))
    assert all(np.isfinite(tf.convert_to_tensor(g).numpy()).all() for g in ours.gradients)
