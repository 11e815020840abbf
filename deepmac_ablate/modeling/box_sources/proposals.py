"""Regions of the box head."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tensorflow as tf
from official.vision.ops import spatial_transform_ops

from deepmac_ablate.modeling.box_sources.base import BoxSource, GroundTruth, MaskBoxes
from deepmac_ablate.modeling.detector import Regions


@gin.register(module=__package__)
class ProposalBoxes(BoxSource):
    """The box head's sampled regions: how Mask R-CNN is usually trained (arXiv:1703.06870)."""

    def __init__(
        self, max_per_image: int = 128, slots_per_image: int = 64, with_groundtruth: bool = True
    ) -> None:
        """Notes what to offer.

        Args:
            max_per_image: how many regions of an image are offered at most; all that hold an
                object, if not less than `RegionSampler.num_samples * foreground_fraction`.
            slots_per_image: see `BoxSource`.
            with_groundtruth: whether a region may be exactly the annotated box of its object, as
                those are that `RegionSampler.mix_gt_boxes` adds. Without them the box head is
                trained as before; without mixing it would be trained differently, too.
        """
        super().__init__(slots_per_image)
        self._max_per_image = max_per_image
        self._with_groundtruth = with_groundtruth

    def boxes(
        self, truth: GroundTruth, regions: Regions, image_size: Sequence[int], seed: tf.Tensor
    ) -> MaskBoxes:
        """Offers the regions that hold an object; see `BoxSource.boxes`."""
        del image_size, seed
        classes = regions.gt_classes
        if not self._with_groundtruth:
            annotated = tf.reduce_all(tf.equal(regions.boxes, regions.gt_boxes), axis=-1)
            classes = tf.where(annotated, tf.zeros_like(classes), classes)
        number = min(self._max_per_image, classes.shape[1])
        chosen = tf.math.top_k(tf.cast(classes > 0, tf.int32), k=number).indices
        boxes, classes, index = (
            tf.gather(x, chosen, batch_dims=1) for x in (regions.boxes, classes, regions.gt_index))
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
