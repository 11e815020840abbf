"""Box sources: where the boxes come from that the mask head is cropped with in training."""

from __future__ import annotations

import abc
from typing import NamedTuple

import gin
import tensorflow as tf
from official.vision.ops import spatial_transform_ops

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
    def boxes(self, truth: GroundTruth, regions: Regions) -> MaskBoxes:
        """Offers boxes, from the annotations and from the regions of the box head."""

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


@gin.register
class GroundTruthBoxes(BoxSource):
    """The annotated boxes themselves: what the paper trains with (arXiv:2104.00613)."""

    def __init__(self, slots_per_image: int = 16) -> None:
        super().__init__(slots_per_image)

    def boxes(self, truth: GroundTruth, regions: Regions) -> MaskBoxes:
        """Offers every annotated box; see `BoxSource.boxes`."""
        del regions
        batch, slots = tf.shape(truth.classes)[0], truth.classes.shape[1]
        index = tf.tile(tf.range(slots)[tf.newaxis], [batch, 1])
        return MaskBoxes(truth.boxes, truth.classes, index, (truth.classes > 0) & truth.has_mask)

    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Resizes the masks, which already are those inside the boxes."""
        del boxes, gt_boxes
        return tf.squeeze(tf.image.resize(gt_masks[..., tf.newaxis], [mask_size, mask_size]), -1)


@gin.register
class ProposalBoxes(BoxSource):
    """The box head's sampled regions: how Mask R-CNN is usually trained (arXiv:1703.06870)."""

    def __init__(self, max_per_image: int = 128, slots_per_image: int = 64) -> None:
        """Notes the numbers.

        Args:
            max_per_image: how many regions of an image are offered at most; all that hold an
                object, if not less than `RegionSampler.num_samples * foreground_fraction`.
            slots_per_image: see `BoxSource`.
        """
        super().__init__(slots_per_image)
        self._max_per_image = max_per_image

    def boxes(self, truth: GroundTruth, regions: Regions) -> MaskBoxes:
        """Offers the regions that hold an object; see `BoxSource.boxes`."""
        foreground = tf.cast(regions.gt_classes > 0, tf.int32)
        number = min(self._max_per_image, regions.gt_classes.shape[1])
        chosen = tf.math.top_k(foreground, k=number).indices
        boxes, classes, index = (
            tf.gather(x, chosen, batch_dims=1)
            for x in (regions.boxes, regions.gt_classes, regions.gt_index))
        index = tf.maximum(index, 0)
        has_mask = tf.gather(truth.has_mask, index, batch_dims=1)
        return MaskBoxes(boxes, classes, index, (classes > 0) & has_mask)

    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Crops the part of each mask that lies in its region."""
        return spatial_transform_ops.crop_mask_in_target_box(
            gt_masks[tf.newaxis], gt_boxes[tf.newaxis], boxes[tf.newaxis], mask_size,
            sample_offset=0.5,
        )[0]
