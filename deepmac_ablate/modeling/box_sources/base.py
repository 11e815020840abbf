"""What every box source offers, and from what."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from deepmac_ablate.modeling.detector import Regions


class GroundTruth(NamedTuple):
    """The annotated instances of a batch, padded to the same number per image.

    Attributes:
        boxes: [b, m, 4] float32, padding -1.
        classes: [b, m] integers, padding -1.
        masks: [b, m, s, s] float32, each instance's mask inside its own box.
        has_mask: [b, m] bool, true where training may see the mask.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    masks: tf.Tensor
    has_mask: tf.Tensor


class MaskBoxes(NamedTuple):
    """Boxes that the mask head may be trained in.

    Attributes:
        boxes: [b, n, 4] float32.
        classes: [b, n] class of the instance in each box; <= 0 where there is none.
        gt_index: [b, n] int32, which of the image's instances that is; 0 where there is none.
        valid: [b, n] bool, true where the box has a mask that training may see.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    gt_index: tf.Tensor
    valid: tf.Tensor


class BoxSource(abc.ABC):
    """Offers boxes to the mask head, and the mask inside each.

    Attributes:
        slots_per_image: how many boxes of an image the mask head is trained in; pooled over the
            images of a replica, so that one image may use the room that another leaves. Boxes
            beyond that are drawn from, and counted as dropped.
    """

    def __init__(self, slots_per_image: int) -> None:
        self.slots_per_image = slots_per_image

    @abc.abstractmethod
    def boxes(
        self, truth: GroundTruth, regions: Regions, image_size: Sequence[int], seed: tf.Tensor
    ) -> MaskBoxes:
        """Offers boxes.

        Args:
            truth: the annotations.
            regions: what the box head is trained on.
            image_size: height and width of the images in pixels.
            seed: what all draws are a function of, as `sampling.uniform` takes it.
        """

    @abc.abstractmethod
    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Crops the masks that belong into boxes.

        Args:
            boxes: [n, 4] boxes that `boxes` offered.
            gt_boxes: [n, 4] the box of the instance in each.
            gt_masks: [n, s, s] float32, the instance's mask inside `gt_boxes`.
            mask_size: side of the result.

        Returns:
            [n, mask_size, mask_size] float32 in [0, 1], soft at edges.
        """
