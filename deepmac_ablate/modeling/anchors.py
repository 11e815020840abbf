"""Anchors: the boxes that the region proposal network refines, and their training targets."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tensorflow as tf
from official.vision.ops import anchor

from deepmac_ablate.modeling import sampling


@gin.register(module="deepmac_ablate.modeling.anchors")
class Anchors:
    """Anchor boxes over a feature pyramid, and their labels from ground-truth boxes.

    Attributes:
        min_level: Finest pyramid level; level l has a stride of 2**l pixels.
        max_level: Coarsest pyramid level, at least `min_level`.
        num_scales: Number of anchor scales per pyramid level.
        aspect_ratios: Ratios of width to height, one for each anchor shape.
        size: Side of the base anchor in units of its level's stride.
        match_iou: Anchors with at least this IoU with a ground-truth box are positive, 0 to 1.
        unmatched_iou: Anchors with less than this IoU with every ground-truth box are negative, 0
            to 1; those between `unmatched_iou` and `match_iou` are ignored.
        samples_per_image: Number of labelled anchors per image that enter the loss.
        positive_fraction: Largest share of positives among the sampled anchors, 0 to 1.
    """

    def __init__(
        self,
        min_level: int = 2,
        max_level: int = 6,
        num_scales: int = 1,
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        size: float = 8.0,
        match_iou: float = 0.7,
        unmatched_iou: float = 0.3,
        samples_per_image: int = 256,
        positive_fraction: float = 0.5,
    ) -> None:
        self.min_level = min_level
        self.max_level = max_level
        self.num_scales = num_scales
        self.aspect_ratios = tuple(aspect_ratios)
        self.size = size
        self.samples_per_image = samples_per_image
        self.positive_fraction = positive_fraction
        self._labeler = anchor.AnchorLabeler(match_iou, unmatched_iou)

    @property
    def per_location(self) -> int:
        """Number of anchors at each position of a feature map."""
        return self.num_scales * len(self.aspect_ratios)

    def boxes(self, image_size: Sequence[int]) -> dict[str, tf.Tensor]:
        """Return the anchors of an image in pixels, level -> [h, w, per_location * 4] float32.

        Args:
            image_size: Height and width of the image in pixels, multiples of 2**max_level.
        """
        return anchor.Anchor(
            min_level=self.min_level,
            max_level=self.max_level,
            num_scales=self.num_scales,
            aspect_ratios=list(self.aspect_ratios),
            anchor_size=self.size,
            image_size=tuple(image_size),
        ).multilevel_boxes

    def label(
        self, image_size: Sequence[int], gt_boxes: tf.Tensor, seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Label the anchors of one image.

        Args:
            image_size: Height and width of the image in pixels.
            gt_boxes: Ground-truth boxes, [n, 4] float32, without padding.
            seed: Seed of the choice of anchors, [2] integers.

        Returns:
            Score targets, level -> [h, w, per_location] int32: 1 for objects, 0 for background, -1
            for anchors outside the loss. Box targets, level -> [h, w, per_location * 4] float32,
            zero for anchors without one.
        """
        anchors = self.boxes(image_size)
        ones = tf.ones([tf.shape(gt_boxes)[0], 1], tf.float32)
        classes, box_targets, _, weights, _ = self._labeler.label_anchors(anchors, gt_boxes, ones)
        matched = tf.concat([tf.reshape(c, [-1]) for c in classes.values()], axis=0) > 0.0
        in_question = tf.reshape(weights, [-1]) > 0.0
        priorities = sampling.balanced_priorities(
            (matched & in_question)[tf.newaxis],
            (~matched & in_question)[tf.newaxis],
            self.samples_per_image,
            self.positive_fraction,
            seed,
        )
        drawn = sampling.sample_mask(priorities, self.samples_per_image)[0]
        scores = tf.where(drawn, tf.cast(matched, tf.int32), -1)
        # The labeler encodes a zero box for anchors without a match, but the loss counts every
        # target that is not zero.
        offsets = tf.concat([tf.reshape(t, [-1, 4]) for t in box_targets.values()], axis=0)
        offsets = tf.where(matched[:, tf.newaxis], offsets, 0.0)
        return anchor.unpack_targets(scores, anchors), anchor.unpack_targets(offsets, anchors)
