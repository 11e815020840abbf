"""Boxes that each box source offers, and the target masks in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.box_sources import (
    BoxSource,
    GroundTruth,
    GroundTruthBoxes,
    JitteredGroundTruthBoxes,
    MaskBoxes,
    ProposalBoxes,
)
from deepmac_ablate.modeling.detectors import Regions
from deepmac_ablate.modeling.detectors.region_parts import RegionSampler
from tests.helpers import tiny_model

IMAGE_SIZE = (64, 64)
SEED = (3, 5)


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


def offer(source: BoxSource, seed: tuple[int, int] = SEED) -> MaskBoxes:
    return source.boxes(truth(), regions(), IMAGE_SIZE, tf.constant(seed))


def test_ground_truth_offers_annotated_boxes() -> None:
    """Every ground-truth box is offered; only seen instances are valid."""
    offered = offer(GroundTruthBoxes())
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
    offered = offer(ProposalBoxes())
    np.testing.assert_array_equal(
        regions().boxes.numpy()[0, [1, 2, 4, 0, 3]], offered.boxes[0])
    assert offered.classes.numpy().tolist() == [[3, 5, 3, 0, 0]]
    assert offered.gt_index.numpy().tolist() == [[0, 1, 0, 0, 0]]
    assert offered.valid.numpy().tolist() == [[True, False, True, False, False]]


def test_proposals_are_limited_per_image() -> None:
    """No more regions are offered than allowed."""
    offered = offer(ProposalBoxes(max_per_image=2))
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


def with_annotated_box() -> Regions:
    """As `regions`, but the second is exactly the seen instance's box."""
    boxes = regions().boxes.numpy()
    boxes[0, 1] = truth().boxes[0, 0]
    return regions()._replace(boxes=tf.constant(boxes))


def test_proposals_can_leave_annotated_boxes_out() -> None:
    """Then the region that is its object's box counts as background, and another takes its place.

    With them, both regions of the seen instance are valid.
    """
    number = 2
    for with_groundtruth, expected in ((True, [[0, 0, 16, 16], [20, 20, 38, 40]]),
                                       (False, [[20, 20, 38, 40], [0, 8, 16, 16]])):
        source = ProposalBoxes(max_per_image=number, with_groundtruth=with_groundtruth)
        found = source.boxes(truth(), with_annotated_box(), IMAGE_SIZE, tf.constant(SEED))
        assert found.boxes[0].numpy().tolist() == expected
        assert found.valid.numpy().sum() == 1
    everything = ProposalBoxes(with_groundtruth=False).boxes(
        truth(), with_annotated_box(), IMAGE_SIZE, tf.constant(SEED))
    annotated = tf.reduce_all(everything.boxes == truth().boxes[:, :1], axis=-1)
    assert annotated.numpy().sum() == 1
    assert not everything.valid.numpy()[annotated].any()
    assert everything.classes.numpy()[annotated].tolist() == [0]


def test_boxes_that_the_sampler_mixes_in_are_left_out() -> None:
    """No valid mixed region is a ground-truth box, and all others are as without mixing."""
    data = tiny_model.batch()
    labels = data.labels
    annotated = GroundTruth(*(labels[f"gt_{name}"] for name in (
        "boxes", "classes", "masks", "has_mask")))
    near = labels["gt_boxes"] + tf.constant([1.0, -1.0, 2.0, 0.5])
    drawn = RegionSampler(num_samples=12, foreground_fraction=1.0).sample(
        near, labels["gt_boxes"], labels["gt_classes"], tf.constant(SEED))

    def valid_boxes(source: BoxSource) -> set[tuple[float, ...]]:
        found = source.boxes(annotated, drawn, IMAGE_SIZE, tf.constant(SEED))
        return {tuple(box) for box in found.boxes.numpy()[found.valid.numpy()].tolist()}

    exact = {tuple(box) for box in labels["gt_boxes"].numpy().reshape(-1, 4).tolist()}
    mixed = valid_boxes(ProposalBoxes())
    assert mixed & exact
    assert mixed - exact == valid_boxes(ProposalBoxes(with_groundtruth=False)) != set()


def test_jittered_boxes_are_annotated_boxes_moved() -> None:
    """All but padding move, within half the ratio of their sides, and stay matched and valid."""
    plain, moved = offer(GroundTruthBoxes()), offer(JitteredGroundTruthBoxes(0.4))
    for field in ("classes", "gt_index", "valid"):
        np.testing.assert_array_equal(getattr(plain, field), getattr(moved, field))
    distance = np.abs(moved.boxes - plain.boxes)[0]
    assert (distance[:2] <= [[0.2 * 16], [0.2 * 20]]).all()
    # The first box lies in the corner of the image: it cannot move out.
    assert (distance[0, 2:] > 0).all()
    assert (distance[1] > 0).all()
    assert (distance[2] == 0).all()


def test_jitter_is_a_function_of_the_seed() -> None:
    """The same seed gives the same boxes, another step or trial others."""
    source = JitteredGroundTruthBoxes(0.4)
    first, again = offer(source), offer(source)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    for seed in ((3, 6), (4, 5)):
        assert not np.allclose(first.boxes[0, 1], offer(source, seed).boxes[0, 1])


def test_ratio_and_mode_matter() -> None:
    """Twice the ratio moves twice as far; boxes that may only shrink only do."""
    distance = [(offer(JitteredGroundTruthBoxes(ratio)).boxes - truth().boxes)[0, 1]
                for ratio in (0.2, 0.4)]
    np.testing.assert_allclose(2 * distance[0], distance[1], rtol=1e-4)
    assert np.abs(distance[0]).min() > 0
    moved = offer(JitteredGroundTruthBoxes(0.4, "shrink")).boxes.numpy()[0, :2]
    before = truth().boxes.numpy()[0, :2]
    assert (moved[:, :2] > before[:, :2]).all()
    assert (moved[:, 2:] < before[:, 2:]).all()


def test_jittered_boxes_are_clipped_to_the_image() -> None:
    """The image's height and width bound them, not its larger side."""
    source = JitteredGroundTruthBoxes(0.9, "expand")
    moved = source.boxes(truth(), regions(), (41, 50), tf.constant(SEED)).boxes.numpy()[0]
    assert moved[1, 2] == 41.0 < moved[1, 3]
    assert moved[0, :2].tolist() == [0.0, 0.0]


def test_a_ratio_out_of_range_is_refused() -> None:
    """Boxes that may shrink keep something."""
    with pytest.raises(UserError, match=r"jitter ratio must be .* in mode 'default', got 1\.0"):
        JitteredGroundTruthBoxes(1.0)
    JitteredGroundTruthBoxes(1.0, "expand")


def random_masks(number: int, side: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).uniform(size=(number, side, side)), tf.float32)


@pytest.mark.parametrize("mask_size", [5, 28, 40])
def test_unmoved_boxes_have_the_targets_of_annotated_boxes(mask_size: int) -> None:
    """At ratio 0 the two sources are the same, whether masks shrink or grow."""
    boxes = tf.constant([[0, 0, 16, 16], [20, 20, 40, 44]], tf.float32)
    masks = random_masks(2, 16)
    expected = GroundTruthBoxes().targets(boxes, boxes, masks, mask_size)
    actual = JitteredGroundTruthBoxes(0.0).targets(boxes, boxes, masks, mask_size)
    np.testing.assert_allclose(expected, actual, atol=1e-5)


def test_jittered_targets_are_the_part_inside_the_box_and_nothing_outside_the_annotated() -> None:
    """By hand: a full mask seen from a box that is moved by half of its side is half empty."""
    gt_boxes = tf.constant([[10, 20, 26, 36]] * 3, tf.float32)
    boxes = tf.constant([[18, 20, 34, 36], [10, 12, 26, 28], [14, 24, 22, 32]], tf.float32)
    down, left, inner = JitteredGroundTruthBoxes(0.5).targets(
        boxes, gt_boxes, tf.ones([3, 8, 8]), 4).numpy()
    np.testing.assert_allclose(down, [[1] * 4, [1] * 4, [0] * 4, [0] * 4], atol=1e-6)
    np.testing.assert_allclose(left, [[0, 0, 1, 1]] * 4, atol=1e-6)
    np.testing.assert_allclose(inner, np.ones((4, 4)), atol=1e-6)


def test_jittered_targets_agree_with_masks_in_the_image() -> None:
    """A mask drawn into the image and sampled in the moved box there gives the same target.

    The mask has a cell per pixel, so both sample the same values linearly; at the border of the
    ground-truth box the image's neighbours are empty, so those samples are left out.
    """
    image = np.zeros((64, 64), np.float32)
    image[8:40, 16:48] = random_masks(1, 32)[0]
    box, gt_box = [11.3, 18.2, 37.1, 45.4], [8.0, 16.0, 40.0, 48.0]
    target = JitteredGroundTruthBoxes(0.5).targets(
        tf.constant([box]), tf.constant([gt_box]), tf.constant(image[np.newaxis, 8:40, 16:48]), 7)
    expected = tf.image.crop_and_resize(
        image[np.newaxis, ..., np.newaxis],
        # This samples from corner to corner, counted between centres of pixels.
        [[(e + (0.5 if i < 2 else -0.5) * d / 7 - 0.5) / 63 for i, (e, d) in enumerate(
            zip(box, [box[2] - box[0], box[3] - box[1]] * 2, strict=True))]], [0], [7, 7])
    np.testing.assert_allclose(expected[0, ..., 0], target[0], atol=1e-4)


@pytest.mark.slow
@pytest.mark.extended
def test_jittered_boxes_train_under_xla() -> None:
    """The whole step compiles with them: boxes are moved, targets are those of the moved boxes."""
    source, data = JitteredGroundTruthBoxes(0.3), tiny_model.batch()
    model = tiny_model.build_model(mask_boxes=source)
    model.create_variables()

    @tf.function(jit_compile=True)
    def step(*tensors: Any) -> tuple:
        result = tiny_model.step(model, tiny_model.Batch(*tensors))
        return result.outputs["mask_slots"], result.outputs["mask_targets"], result.losses

    slots, targets, losses = step(*data)
    valid = slots.valid.numpy()
    distance = np.abs(slots.boxes - slots.gt_boxes)[valid]
    assert 0.0 < distance.max(axis=1).min() < distance.max() < 0.15 * 34
    expected = source.targets(
        slots.boxes, slots.gt_boxes, slots.gt_masks, model.mask_head.mask_size)
    np.testing.assert_allclose(expected.numpy()[valid], targets.numpy()[valid], atol=1e-3)
    assert 0.0 < float(losses["mask_loss"]) < 2.0
