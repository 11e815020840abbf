"""Anchors: the boxes that the region proposal network refines, and their training targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import gin
import tensorflow as tf
from official.vision.ops import anchor, box_ops, iou_similarity

from deepmac_ablate.bindings.ranges import Count, Range, Share
from deepmac_ablate.errors import UserError, shorten
from deepmac_ablate.modeling import sampling


@gin.register(module="deepmac_ablate.modeling.anchors")
class Anchors:
    """Anchor boxes over a feature pyramid, and their labels from ground-truth boxes.

    Attributes:
        min_level: Finest pyramid level; level l has a stride of 2**l pixels.
        max_level: Coarsest pyramid level.
        num_scales: Number of anchor scales per pyramid level.
        aspect_ratios: Ratios of width to height, one for each anchor shape.
        size: Side of the base anchor in units of its level's stride.
        match_iou: Anchors with at least this IoU with a ground-truth box are positive.
        unmatched_iou: Anchors with less than this IoU with every ground-truth box are
            negative; those between `unmatched_iou` and `match_iou` are ignored.
        samples_per_image: Number of labelled anchors per image that enter the loss.
        positive_fraction: Largest share of positives among the sampled anchors.
    """

    def __init__(
        self,
        min_level: Annotated[int, Range(1, 10)] = 2,
        max_level: Annotated[int, Range(1, 10)] = 6,
        num_scales: Annotated[int, Range(1, 30)] = 1,
        aspect_ratios: Sequence[Annotated[float, Range(0.01, 100)]] = (0.5, 1.0, 2.0),
        size: Annotated[float, Range(0.1, 100)] = 8.0,
        match_iou: Share = 0.7,
        unmatched_iou: Share = 0.3,
        samples_per_image: Count = 256,
        positive_fraction: Share = 0.5,
    ) -> None:
        if min_level > max_level:
            raise UserError(
                f"Anchors.min_level = {min_level} must be at most max_level = {max_level}.")
        if unmatched_iou > match_iou:
            raise UserError(
                f"Anchors.unmatched_iou = {unmatched_iou} must be at most match_iou = {match_iou}.")
        if not aspect_ratios:
            raise UserError("Anchors.aspect_ratios must name at least one ratio, got none.")
        self.min_level = min_level
        self.max_level = max_level
        self.num_scales = num_scales
        self.aspect_ratios = tuple(aspect_ratios)
        self.size = size
        self.samples_per_image = samples_per_image
        self.positive_fraction = positive_fraction
        self._match_iou = match_iou
        self._unmatched_iou = unmatched_iou

    def check_image_size(self, image_size: Sequence[int]) -> None:
        """Raise a UserError unless images of this height and width suit the pyramid."""
        if len(image_size) != 2:
            raise UserError(
                "MaskRCNN.image_size must be a height and a width, such as (512, 512), got "
                f"{shorten(image_size)}.")
        stride = 2**self.max_level
        if any(side % stride for side in image_size):
            raise UserError(
                f"MaskRCNN.image_size = {tuple(image_size)} does not suit a pyramid up to level "
                f"{self.max_level}: use multiples of {stride}.")

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
        with tf.init_scope():  # Computed once, not for each image.
            anchors = self.boxes(image_size)
            flat = tf.concat([tf.reshape(boxes, [-1, 4]) for boxes in anchors.values()], axis=0)
        matched, in_question, offsets = self._match(flat, gt_boxes)
        priorities = sampling.balanced_priorities(
            (matched & in_question)[tf.newaxis],
            (~matched & in_question)[tf.newaxis],
            self.samples_per_image,
            self.positive_fraction,
            seed,
        )
        drawn = sampling.sample_mask(priorities, self.samples_per_image)[0]
        scores = tf.where(drawn, tf.cast(matched, tf.int32), -1)
        return anchor.unpack_targets(scores, anchors), anchor.unpack_targets(offsets, anchors)

    def _match(
        self, anchors: tf.Tensor, gt_boxes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Match anchors with ground-truth boxes, as Model Garden's labeler does.

        That one gathers and encodes a box for every anchor; here only the few that match have one.

        Args:
            anchors: Anchors, [a, 4] float32.
            gt_boxes: Ground-truth boxes, [n, 4] float32.

        Returns:
            True for anchors of an object, [a] bool: those that overlap it enough, and for each
            object the one that overlaps it most. True for these and for background, [a] bool. Box
            targets, [a, 4] float32, zero for the other anchors, as the loss counts every target
            that is not zero.
        """
        iou = iou_similarity.iou(gt_boxes, anchors)
        best = tf.reduce_max(iou, axis=0)
        nearest = tf.math.top_k(iou, k=1).indices[:, 0]  # Faster than argmax.
        count = anchors.shape[0]
        is_nearest = tf.scatter_nd(nearest[:, tf.newaxis], tf.ones_like(nearest), [count]) > 0
        matched = (best >= self._match_iou) | is_nearest
        index = tf.where(matched)[:, 0]
        # The first object to which the anchor is nearest, else the first that it overlaps most.
        # Not argmax, which fails without objects.
        overlaps_most = tf.gather(iou, index, axis=1) >= tf.gather(best, index)
        chosen_by = tf.equal(nearest[:, tf.newaxis], tf.cast(index, tf.int32))
        objects = tf.range(tf.shape(iou)[0])[:, tf.newaxis]
        first, first_chosen = (
            tf.reduce_min(tf.where(mask, objects, tf.int32.max), axis=0)
            for mask in (overlaps_most, chosen_by))
        gt_index = tf.where(first_chosen < tf.int32.max, first_chosen, first)
        targets = box_ops.encode_boxes(tf.gather(gt_boxes, gt_index), tf.gather(anchors, index))
        offsets = tf.scatter_nd(index[:, tf.newaxis], targets, [count, 4])
        return matched, matched | (best < self._unmatched_iou), offsets
