"""What each box source offers, and the masks inside."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deepmac_ablate.modeling.box_sources import GroundTruth, GroundTruthBoxes, ProposalBoxes
from deepmac_ablate.modeling.detector import Regions


def truth() -> GroundTruth:
    """One image: a seen instance whose left half is mask, a novel one, and padding."""
    mask = np.zeros((8, 8), np.float32)
    mask[:, :4] = 1.0
    return GroundTruth(
        boxes=tf.constant([[[0, 0, 16, 16], [20, 20, 40, 40], [-1] * 4]], tf.float32),
        classes=tf.constant([[3, 5, -1]]),
        masks=tf.constant([[mask, mask, np.full((8, 8), -1.0)]], tf.float32),
        has_mask=tf.constant([[True, False, False]]),
    )


def regions() -> Regions:
    """Background, the seen instance, the novel one, background, the seen one again."""
    boxes = [[0, 0, 4, 4], [0, 0, 16, 8], [20, 20, 38, 40], [9, 9, 12, 12], [0, 8, 16, 16]]
    index = [-1, 0, 1, -1, 0]
    gt_boxes = [[0] * 4 if i < 0 else truth().boxes[0, i].numpy().tolist() for i in index]
    return Regions(
        tf.constant([boxes], tf.float32), tf.constant([gt_boxes], tf.float32),
        tf.constant([[0, 3, 5, 0, 3]]), tf.constant([index]))


def test_ground_truth_offers_annotated_boxes() -> None:
    """Every annotated box is offered; only seen instances are valid."""
    offered = GroundTruthBoxes().boxes(truth(), regions())
    np.testing.assert_array_equal(truth().boxes, offered.boxes)
    np.testing.assert_array_equal(truth().classes, offered.classes)
    assert offered.gt_index.numpy().tolist() == [[0, 1, 2]]
    assert offered.valid.numpy().tolist() == [[True, False, False]]


def test_ground_truth_masks_are_resized() -> None:
    """The target is the annotated mask at another size: its mean stays."""
    target = GroundTruthBoxes().targets(
        truth().boxes[0, :1], truth().boxes[0, :1], truth().masks[0, :1], 4)
    np.testing.assert_array_equal([[[1.0, 1.0, 0.0, 0.0]] * 4], target)


def test_proposals_offer_objects_first() -> None:
    """Regions with objects come first; those of seen instances are valid."""
    offered = ProposalBoxes().boxes(truth(), regions())
    np.testing.assert_array_equal(
        regions().boxes.numpy()[0, [1, 2, 4, 0, 3]], offered.boxes[0])
    assert offered.classes.numpy().tolist() == [[3, 5, 3, 0, 0]]
    assert offered.gt_index.numpy().tolist() == [[0, 1, 0, 0, 0]]
    assert offered.valid.numpy().tolist() == [[True, False, True, False, False]]


def test_proposals_are_limited_per_image() -> None:
    """No more regions are offered than allowed."""
    offered = ProposalBoxes(max_per_image=2).boxes(truth(), regions())
    assert offered.classes.numpy().tolist() == [[3, 5]]


def test_proposal_masks_are_the_part_inside_the_region() -> None:
    """Inside the box's left half everything is mask, inside the right half nothing."""
    boxes = regions().boxes[0]
    gt_boxes = tf.tile(truth().boxes[0, :1], [2, 1])
    gt_masks = tf.tile(truth().masks[0, :1], [2, 1, 1])
    left, right = ProposalBoxes().targets(
        tf.gather(boxes, [1, 4]), gt_boxes, gt_masks, 4).numpy()
    # The cells at the mask's own edge are soft.
    np.testing.assert_allclose(np.ones((4, 3)), left[:, :3], atol=1e-6)
    np.testing.assert_allclose(np.zeros((4, 3)), right[:, 1:], atol=1e-6)
