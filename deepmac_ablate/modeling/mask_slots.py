"""Mask slots: the boxes with a loss of masks, packed into a fixed number of slots.

Most boxes that a source offers have no mask loss: padding, classes without masks, background
regions. Running the mask head on all of them would take most of a training step and would affect
the head's batch statistics. The slots are pooled over the images of a replica, so that an image
with many objects may use the slots that another leaves empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from deepmac_ablate.box_jitter import Jitter
from deepmac_ablate.modeling import box_noise, sampling
from deepmac_ablate.modeling.box_sources import GroundTruth, MaskBoxes

# Numbers of slots into which a budget is divided when empty slots are left out.
_SIZES = 8


class MaskSlots(NamedTuple):
    """Boxes on which the mask head runs.

    Attributes:
        boxes: Boxes, [n, 4] float32.
        classes: Classes, [n].
        image_index: Index in the batch of the image of each box, [n] int32.
        gt_boxes: Ground-truth box of the instance in each box, [n, 4].
        gt_masks: Mask of that instance inside its ground-truth box, [n, s, s].
        valid: False for empty slots, [n] bool.
        has_mask: True where training may see the mask; without it, only weak losses count, [n]
            bool.
        offered: Number of valid boxes that were offered, float32 scalar.
        dropped: Number of valid boxes without a slot, float32 scalar.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    image_index: tf.Tensor
    gt_boxes: tf.Tensor
    gt_masks: tf.Tensor
    valid: tf.Tensor
    has_mask: tf.Tensor
    offered: tf.Tensor
    dropped: tf.Tensor


def all_slots(boxes: MaskBoxes, truth: GroundTruth) -> MaskSlots:
    """Give every offered box a slot, whether valid or not: b * n slots in order."""
    batch, number = tf.shape(boxes.classes)[0], boxes.classes.shape[1]
    return _gather(boxes, truth, tf.range(batch * number))


def packed_slots(
    boxes: MaskBoxes, truth: GroundTruth, budget: int, seed: tf.Tensor, trim: bool = False
) -> MaskSlots:
    """Give each valid box a slot; if there are too few slots, choose boxes at random.

    Args:
        boxes: Boxes of a box source, [b, n].
        truth: Annotated instances.
        budget: Number of slots.
        seed: Seed of the choice; see `sampling.uniform`.
        trim: Whether to leave out empty slots, up to a multiple of an eighth of the budget: few
            sizes, because kernels are prepared for each of them. The shapes are not static then.
    """
    valid = tf.reshape(boxes.valid, [-1])
    random = sampling.uniform(tf.shape(valid), seed)
    count = budget if valid.shape[0] is None else min(budget, valid.shape[0])
    # The valid ones come first.
    chosen = tf.math.top_k(tf.where(valid, random, 0.0), k=count).indices
    if trim:
        part = -(-count // _SIZES)
        parts = -(-tf.math.count_nonzero(valid, dtype=tf.int32) // part)
        chosen = chosen[: part * tf.maximum(parts, 1)]
    return _gather(boxes, truth, chosen)


def add_box_only(
    boxes: MaskBoxes, truth: GroundTruth, context: float, image_size: Sequence[int],
    seed: tf.Tensor,
) -> MaskBoxes:
    """Make boxes valid whose object has no mask that training may see, and enlarge these.

    Args:
        boxes: Boxes of a box source, [b, n].
        truth: Annotated instances.
        context: Each edge is moved outwards, by a random share of up to half of this of the box's
            side, and at most to the border of the image.
        image_size: Height and width of the images in pixels.
        seed: Seed of the shares; see `sampling.uniform`.
    """
    has_mask = tf.gather(truth.has_mask, boxes.gt_index, batch_dims=1)
    box_only = (boxes.classes > 0) & ~has_mask
    draws = sampling.uniform(tf.shape(boxes.boxes), seed)
    larger = box_noise.jitter_boxes(
        boxes.boxes, draws, Jitter(context, "expand"), image_size)
    return boxes._replace(
        boxes=tf.where(box_only[..., tf.newaxis], larger, boxes.boxes),
        valid=boxes.valid | box_only)


def _gather(boxes: MaskBoxes, truth: GroundTruth, chosen: tf.Tensor) -> MaskSlots:
    """Gather the offered boxes whose numbers, counted through the batch, are in `chosen`."""
    number = boxes.classes.shape[1]
    image_index = chosen // number
    valid = tf.gather(tf.reshape(boxes.valid, [-1]), chosen)
    instance = tf.stack([image_index, tf.gather(tf.reshape(boxes.gt_index, [-1]), chosen)], axis=1)
    has_mask = valid & tf.gather_nd(truth.has_mask, instance)
    offered = tf.reduce_sum(tf.cast(boxes.valid, tf.float32))
    return MaskSlots(
        boxes=tf.gather(tf.reshape(boxes.boxes, [-1, 4]), chosen),
        classes=tf.gather(tf.reshape(boxes.classes, [-1]), chosen),
        image_index=image_index,
        gt_boxes=tf.gather_nd(truth.boxes, instance),
        gt_masks=tf.gather_nd(truth.masks, instance),
        valid=valid,
        has_mask=has_mask,
        offered=offered,
        dropped=offered - tf.reduce_sum(tf.cast(valid, tf.float32)),
    )
