"""Packing: the boxes that carry a mask loss, gathered into a fixed number of slots.

Most of what could enter the mask branch has no loss there: padding, classes without masks,
background regions. Running the head on all of it costs most of a training step and lets it into
the head's batch statistics. The slots are pooled over the images of a replica, so an image with
many objects may use the room that another leaves.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from deepmac_ablate.modeling import sampling
from deepmac_ablate.modeling.box_sources import GroundTruth, MaskBoxes


class MaskSlots(NamedTuple):
    """What the mask branch runs on.

    Attributes:
        boxes: [n, 4] float32.
        classes: [n].
        image_index: [n] int32, the image each box lies in.
        gt_boxes: [n, 4] the box of the instance in each.
        gt_masks: [n, s, s] that instance's mask inside its own box.
        valid: [n] bool, false for an empty slot.
        offered: scalar float32, how many valid boxes there were.
        dropped: scalar float32, how many of them found no slot.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    image_index: tf.Tensor
    gt_boxes: tf.Tensor
    gt_masks: tf.Tensor
    valid: tf.Tensor
    offered: tf.Tensor
    dropped: tf.Tensor


def all_slots(boxes: MaskBoxes, truth: GroundTruth) -> MaskSlots:
    """Give every offered box a slot, valid or not: b * n slots in order."""
    batch, number = tf.shape(boxes.classes)[0], boxes.classes.shape[1]
    return _gather(boxes, truth, tf.range(batch * number))


def packed_slots(boxes: MaskBoxes, truth: GroundTruth, budget: int, seed: tf.Tensor) -> MaskSlots:
    """Give valid boxes a slot each; if there are more than slots, a uniform draw of them.

    Args:
        boxes: what a box source offers, [b, n].
        truth: the annotations.
        budget: number of slots.
        seed: what the draw is a function of, as `sampling.uniform` takes it.
    """
    valid = tf.reshape(boxes.valid, [-1])
    random = sampling.uniform(tf.shape(valid), seed)
    count = budget if valid.shape[0] is None else min(budget, valid.shape[0])
    chosen = tf.math.top_k(tf.where(valid, random, 0.0), k=count).indices
    return _gather(boxes, truth, chosen)


def _gather(boxes: MaskBoxes, truth: GroundTruth, chosen: tf.Tensor) -> MaskSlots:
    """Gather the offered boxes numbered `chosen` (counted through the whole batch)."""
    number = boxes.classes.shape[1]
    image_index = chosen // number
    valid = tf.gather(tf.reshape(boxes.valid, [-1]), chosen)
    instance = tf.stack([image_index, tf.gather(tf.reshape(boxes.gt_index, [-1]), chosen)], axis=1)
    offered = tf.reduce_sum(tf.cast(boxes.valid, tf.float32))
    return MaskSlots(
        boxes=tf.gather(tf.reshape(boxes.boxes, [-1, 4]), chosen),
        classes=tf.gather(tf.reshape(boxes.classes, [-1]), chosen),
        image_index=image_index,
        gt_boxes=tf.gather_nd(truth.boxes, instance),
        gt_masks=tf.gather_nd(truth.masks, instance),
        valid=valid,
        offered=offered,
        dropped=offered - tf.reduce_sum(tf.cast(valid, tf.float32)),
    )
