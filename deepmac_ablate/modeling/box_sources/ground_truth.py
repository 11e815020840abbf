"""Annotated boxes."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tensorflow as tf

from deepmac_ablate.modeling.box_sources.base import BoxSource, GroundTruth, MaskBoxes
from deepmac_ablate.modeling.detector import Regions


@gin.register(module=__package__)
class GroundTruthBoxes(BoxSource):
    """The annotated boxes themselves: what the paper trains with (arXiv:2104.00613)."""

    def __init__(self, slots_per_image: int = 16) -> None:
        super().__init__(slots_per_image)

    def boxes(
        self, truth: GroundTruth, regions: Regions, image_size: Sequence[int], seed: tf.Tensor
    ) -> MaskBoxes:
        """Offers every annotated box; see `BoxSource.boxes`."""
        del regions, image_size, seed
        batch, slots = tf.shape(truth.classes)[0], truth.classes.shape[1]
        index = tf.tile(tf.range(slots)[tf.newaxis], [batch, 1])
        return MaskBoxes(truth.boxes, truth.classes, index, (truth.classes > 0) & truth.has_mask)

    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Resizes the masks, which already are those inside the boxes."""
        del boxes, gt_boxes
        return tf.squeeze(tf.image.resize(gt_masks[..., tf.newaxis], [mask_size, mask_size]), -1)
