"""Anchors: the boxes that the region proposal network refines, and their training targets."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tensorflow as tf
from official.vision.ops import anchor

from deepmac_ablate.modeling import sampling


@gin.register(module="deepmac_ablate.modeling.anchors")
class Anchors:
    """Anchor boxes over a feature pyramid, and how ground truth labels them.

    Attributes:
        min_level: finest pyramid level; level l has a stride of 2**l pixels.
        max_level: coarsest pyramid level.
        num_scales: intermediate scales per level.
        aspect_ratios: width over height of each anchor shape.
        size: side of the base anchor in units of its level's stride.
        match_iou: an anchor with at least this IoU to a ground-truth box is positive.
        unmatched_iou: one with less than this is negative; between the two it is ignored.
        samples_per_image: how many labelled anchors enter the loss.
        positive_fraction: at most this share of them are positives.
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
        """How many anchors sit on one feature-map position."""
        return self.num_scales * len(self.aspect_ratios)

    def boxes(self, image_size: Sequence[int]) -> dict[str, tf.Tensor]:
        """Return the anchors of an image, level -> [h, w, per_location * 4] float32, in pixels.

        Args:
            image_size: height and width in pixels, multiples of 2**max_level.
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
        """Labels the anchors of one image.

        Args:
            image_size: height and width of the image in pixels.
            gt_boxes: [n, 4] float32 ground-truth boxes, without padding.
            seed: [2] integers that the choice of anchors is a function of.

        Returns:
            Score targets, level -> [h, w, per_location] int32: 1 object, 0 background, -1 not in
            the loss. Box targets, level -> [h, w, per_location * 4] float32, zero where there are
            none.
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
        # The labeler encodes a zero box where nothing matches; the loss takes any target that is
        # not zero for one that counts.
        offsets = tf.concat([tf.reshape(t, [-1, 4]) for t in box_targets.values()], axis=0)
        offsets = tf.where(matched[:, tf.newaxis], offsets, 0.0)
        return anchor.unpack_targets(scores, anchors), anchor.unpack_targets(offsets, anchors)
