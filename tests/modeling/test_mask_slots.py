"""Packing of the boxes that carry a mask loss."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deepmac_ablate.modeling.box_sources import GroundTruth, MaskBoxes
from deepmac_ablate.modeling.mask_slots import MaskSlots, all_slots, packed_slots

IMAGES, OFFERED = 3, 6


def truth() -> GroundTruth:
    """Annotations whose numbers tell image and instance: image * 10 + instance."""
    code = 10.0 * np.arange(IMAGES)[:, np.newaxis] + np.arange(4)
    return GroundTruth(
        boxes=tf.constant(np.repeat(code[..., np.newaxis], 4, axis=2), tf.float32),
        classes=tf.ones([IMAGES, 4], tf.int32),
        masks=tf.constant(code[..., np.newaxis, np.newaxis], tf.float32),
        has_mask=tf.ones([IMAGES, 4], tf.bool),
    )


def offered() -> MaskBoxes:
    """Boxes numbered 100 and up, of which seven, in the first two images, are valid."""
    rng = np.random.default_rng(0)
    number = 100.0 + np.arange(IMAGES * OFFERED).reshape(IMAGES, OFFERED)
    valid = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 0, 1, 1, 0], [0] * 6], bool)
    return MaskBoxes(
        boxes=tf.constant(np.repeat(number[..., np.newaxis], 4, axis=2), tf.float32),
        classes=tf.constant(rng.integers(1, 9, (IMAGES, OFFERED)), tf.int32),
        gt_index=tf.constant(rng.integers(0, 4, (IMAGES, OFFERED)), tf.int32),
        valid=tf.constant(valid),
    )


def numbers(slots: MaskSlots) -> np.ndarray:
    """Return the numbers of the offered boxes in valid slots."""
    return slots.boxes.numpy()[slots.valid.numpy(), 0].astype(int) - 100


def check_consistent(slots: MaskSlots) -> None:
    """Every field of a slot belongs to the same offered box and its instance."""
    boxes = offered()
    for slot, number in enumerate(slots.boxes.numpy()[:, 0].astype(int) - 100):
        image, place = divmod(number, OFFERED)
        instance = 10 * image + int(boxes.gt_index[image, place])
        assert image == int(slots.image_index[slot])
        assert int(boxes.classes[image, place]) == int(slots.classes[slot])
        assert bool(boxes.valid[image, place]) == bool(slots.valid[slot])
        assert [instance] * 4 == slots.gt_boxes[slot].numpy().tolist()
        assert instance == float(tf.squeeze(slots.gt_masks[slot]))


def test_all_slots_keep_everything_in_order() -> None:
    """Unpacked, each offered box has the slot of its position."""
    slots = all_slots(offered(), truth())
    check_consistent(slots)
    np.testing.assert_array_equal(
        100 + np.arange(IMAGES * OFFERED), slots.boxes.numpy()[:, 0])
    assert (float(slots.offered), float(slots.dropped)) == (7.0, 0.0)


def test_packed_slots_hold_every_valid_box_first() -> None:
    """With room to spare all seven valid boxes come first, from whichever image; none is lost."""
    expected = np.flatnonzero(offered().valid.numpy())
    for budget in (7, 8, 18, 100):
        slots = packed_slots(offered(), truth(), budget, tf.constant([1, 2]))
        check_consistent(slots)
        assert min(budget, IMAGES * OFFERED) == slots.boxes.shape[0]
        assert slots.valid.numpy().tolist()[:7] == [True] * 7
        np.testing.assert_array_equal(expected, np.sort(numbers(slots)))
        assert (float(slots.offered), float(slots.dropped)) == (7.0, 0.0)


def test_trimmed_slots_leave_out_empty_ones() -> None:
    """All seven valid boxes and fewer empty ones: up to a multiple of an eighth of the slots."""
    for budget, number in ((7, 7), (16, 8), (18, 9), (100, 9)):
        slots = packed_slots(offered(), truth(), budget, tf.constant([1, 2]), trim=True)
        check_consistent(slots)
        assert number == slots.boxes.shape[0]
        np.testing.assert_array_equal(np.flatnonzero(offered().valid), np.sort(numbers(slots)))
        assert (float(slots.offered), float(slots.dropped)) == (7.0, 0.0)
    overflow = packed_slots(offered(), truth(), 3, tf.constant([1, 2]), trim=True)
    assert (3, 4.0) == (overflow.boxes.shape[0], float(overflow.dropped))
    none = offered()._replace(valid=tf.zeros([IMAGES, OFFERED], tf.bool))
    assert packed_slots(none, truth(), 16, tf.constant([1, 2]), trim=True).boxes.shape[0] == 2


def test_overflow_is_counted_and_fair() -> None:
    """Three slots for seven boxes: four dropped, and each box is kept equally often."""
    seeds = 1400
    counts = np.zeros(IMAGES * OFFERED, int)
    draw = tf.function(lambda seed: packed_slots(offered(), truth(), 3, seed))
    for seed in range(seeds):
        slots = draw(tf.constant([seed, 0]))
        assert (float(slots.offered), float(slots.dropped)) == (7.0, 4.0)
        assert slots.valid.numpy().all()
        counts[numbers(slots)] += 1
    valid = offered().valid.numpy().ravel()
    assert not counts[~valid].any()
    # Each count is binomial with p = 3/7; five standard deviations are far out.
    spread = np.sqrt(seeds * 3 / 7 * 4 / 7)
    assert np.abs(counts[valid] - seeds * 3 / 7).max() < 5 * spread


def test_the_seed_decides() -> None:
    """The same seed keeps the same boxes, some other seed others."""
    kept = [set(numbers(packed_slots(offered(), truth(), 3, tf.constant([seed, 0]))))
            for seed in (0, 0, 1, 2, 3)]
    assert kept[0] == kept[1]
    assert any(kept[0] != other for other in kept[2:])


def test_nothing_valid_fills_the_slots_with_invalid_boxes() -> None:
    """Slots are there even if no box is valid, and say so."""
    boxes = offered()._replace(valid=tf.zeros([IMAGES, OFFERED], tf.bool))
    slots = packed_slots(boxes, truth(), 8, tf.constant([1, 2]))
    assert not slots.valid.numpy().any()
    assert (float(slots.offered), float(slots.dropped)) == (0.0, 0.0)
