"""Anchor labels against Model Garden's labeler."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from official.vision.ops import anchor

from deepmac_ablate.modeling.anchors import Anchors

IMAGE_SIZE = (64, 96)


def gt_boxes() -> tf.Tensor:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 40, (5, 2))
    return tf.constant(np.concatenate([corner, corner + rng.uniform(4, 40, (5, 2))], 1), tf.float32)


def test_labels_equal_model_gardens_where_all_anchors_are_drawn() -> None:
    """With room for every anchor nothing is random: all targets are Model Garden's."""
    anchors = Anchors(
        2, 5, size=3.0, match_iou=0.6, samples_per_image=10_000, positive_fraction=1.0)
    scores, offsets = anchors.label(IMAGE_SIZE, gt_boxes(), tf.constant([1, 2]))
    labeler = anchor.RpnAnchorLabeler(0.6, 0.3, 10_000, 1.0)
    their_scores, their_offsets = labeler.label_anchors(
        anchors.boxes(IMAGE_SIZE), gt_boxes(), tf.ones([5, 1]))
    assert {-1, 0, 1} == {int(x) for level in scores.values() for x in level.numpy().ravel()}
    assert list(their_scores) == list(scores)
    for level in scores:
        np.testing.assert_array_equal(their_scores[level], scores[level])
        np.testing.assert_allclose(their_offsets[level], offsets[level], atol=1e-6)


def test_a_small_sample_is_a_balanced_part_of_all() -> None:
    """Half of a sample are objects if there are enough; the sample is part of the full labels."""
    options = {"min_level": 2, "max_level": 5, "size": 3.0, "match_iou": 0.4}
    seed = tf.constant([1, 2])
    everything, _ = Anchors(
        **options, samples_per_image=10_000, positive_fraction=1.0).label(
            IMAGE_SIZE, gt_boxes(), seed)
    sample, _ = Anchors(**options, samples_per_image=16).label(IMAGE_SIZE, gt_boxes(), seed)
    full = np.concatenate([x.numpy().ravel() for x in everything.values()])
    drawn = np.concatenate([x.numpy().ravel() for x in sample.values()])
    assert (full == 1).sum() > 8
    assert ((drawn == 1).sum(), (drawn == 0).sum()) == (8, 8)
    np.testing.assert_array_equal(full[drawn >= 0], drawn[drawn >= 0])


def test_an_image_without_objects_has_background_only() -> None:
    """No ground truth: a full sample of background, no box targets."""
    scores, offsets = Anchors(2, 5, size=3.0, samples_per_image=16).label(
        IMAGE_SIZE, tf.zeros([0, 4]), tf.constant([1, 2]))
    drawn = np.concatenate([x.numpy().ravel() for x in scores.values()])
    assert ((drawn == 1).sum(), (drawn == 0).sum()) == (0, 16)
    assert all(not x.numpy().any() for x in offsets.values())


def test_anchors_are_centred_shapes() -> None:
    """At level 2 with size 3 the square anchor of the first cell is 12 pixels around (2, 2)."""
    boxes = Anchors(2, 3, size=3.0).boxes(IMAGE_SIZE)
    assert tuple(boxes["2"].shape) == (16, 24, 12)
    np.testing.assert_allclose([-4.0, -4.0, 8.0, 8.0], boxes["2"][0, 0, 4:8], atol=1e-5)
    height, width = (boxes["2"][0, 0, 2] - boxes["2"][0, 0, 0],
                     boxes["2"][0, 0, 3] - boxes["2"][0, 0, 1])
    assert float(width / height) == 0.5
