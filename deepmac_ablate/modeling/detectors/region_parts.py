"""Components of Mask R-CNN's detector: proposals, sampled regions, box head, detections."""

from __future__ import annotations

import dataclasses

import gin
import tensorflow as tf
import tf_keras
from official.vision.modeling.heads import dense_prediction_heads, instance_heads
from official.vision.modeling.layers import detection_generator, roi_generator
from official.vision.ops import iou_similarity

from deepmac_ablate.bindings.ranges import Channels, Count, Layers, Share, Side, Units
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import sampling
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Norm
from deepmac_ablate.modeling.detectors.base import Regions

# Factors on box offsets for regression, [y, x, h, w] (arXiv:1506.01497, as in Detectron and its
# successors).
REGRESSION_WEIGHTS = [10.0, 10.0, 5.0, 5.0]


@gin.register(module="deepmac_ablate.modeling.detector")
@dataclasses.dataclass(frozen=True)
class RegionProposals:
    """The region proposal network and the selection of proposals.

    Attributes:
        num_convs: Number of convolutions before the outputs.
        num_filters: Number of channels of these convolutions.
        pre_nms_top_k: Number of boxes per level that enter non-maximum suppression in training.
        num_proposals: Largest number of proposals per image after non-maximum suppression in
            training.
        nms_iou: Boxes that overlap a better one by more than this IoU are suppressed.
        test_pre_nms_top_k: The same as `pre_nms_top_k`, in evaluation.
        test_num_proposals: The same as `num_proposals`, in evaluation.
        batched_nms: Whether one kernel suppresses boxes, which TPUs do not have: several times
            faster for small images. Near-equal boxes may come in another order.
    """

    num_convs: Layers = 1
    num_filters: Channels = 256
    pre_nms_top_k: Count = 2000
    num_proposals: Count = 1000
    nms_iou: Share = 0.7
    test_pre_nms_top_k: Count = 1000
    test_num_proposals: Count = 1000
    batched_nms: bool = False

    def build_head(
        self, anchors: Anchors, norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> tf_keras.layers.Layer:
        """Build the network: feature pyramid -> (scores, box offsets) per level."""
        return dense_prediction_heads.RPNHead(
            min_level=anchors.min_level,
            max_level=anchors.max_level,
            num_anchors_per_location=anchors.per_location,
            num_convs=self.num_convs,
            num_filters=self.num_filters,
            kernel_regularizer=regularizer,
            **norm.options(),
        )

    def build_generator(self) -> tf_keras.layers.Layer:
        """Build the layer from scores and offsets to boxes, [b, num_proposals, 4]."""
        return roi_generator.MultilevelROIGenerator(
            pre_nms_top_k=self.pre_nms_top_k,
            num_proposals=self.num_proposals,
            nms_iou_threshold=self.nms_iou,
            test_pre_nms_top_k=self.test_pre_nms_top_k,
            test_num_proposals=self.test_num_proposals,
            test_nms_iou_threshold=self.nms_iou,
            use_batched_nms=self.batched_nms,
        )


@gin.register(module="deepmac_ablate.modeling.detector")
@dataclasses.dataclass(frozen=True)
class RegionSampler:
    """Sampler of the regions on which the box head is trained, from proposals and ground truth.

    Attributes:
        num_samples: Number of regions per image.
        foreground_fraction: Largest share of regions with an object.
        foreground_iou: Proposals with at least this IoU with a ground-truth box have an object.
        background_iou: Proposals with less than this IoU with every ground-truth box are
            background; those between the two thresholds are neither.
        mix_gt_boxes: Whether ground-truth boxes are added to the proposals.
    """

    num_samples: Count = 512
    foreground_fraction: Share = 0.25
    foreground_iou: Share = 0.5
    background_iou: Share = 0.5
    mix_gt_boxes: bool = True

    def __post_init__(self) -> None:
        """Raise a UserError if regions could be background and hold an object at once."""
        if self.background_iou > self.foreground_iou:
            raise UserError(
                f"RegionSampler.background_iou = {self.background_iou} must be at most "
                f"foreground_iou = {self.foreground_iou}.")

    def sample(
        self, proposals: tf.Tensor, gt_boxes: tf.Tensor, gt_classes: tf.Tensor, seed: tf.Tensor
    ) -> Regions:
        """Draw regions.

        Args:
            proposals: Proposals, [b, n, 4] float32.
            gt_boxes: Ground-truth boxes, [b, m, 4] float32, padded with -1.
            gt_classes: Classes, [b, m] integers, padded with -1.
            seed: Seed of the draw; see `sampling.uniform`.
        """
        boxes = tf.concat([proposals, gt_boxes], axis=1) if self.mix_gt_boxes else proposals
        iou = iou_similarity.IouSimilarity()(
            boxes, gt_boxes,
            tf.reduce_max(boxes, axis=-1, keepdims=True) < 0.0,
            tf.reduce_max(gt_boxes, axis=-1, keepdims=True) < 0.0,
        )
        best, match = tf.reduce_max(iou, axis=-1), tf.argmax(iou, axis=-1, output_type=tf.int32)
        foreground = best >= self.foreground_iou
        # The IoU of padding is -1: it is not a candidate, and counts as background if it is used to
        # fill up the sample.
        background = (best >= 0.0) & (best < self.background_iou)
        unmatched = best < self.background_iou
        priorities = sampling.balanced_priorities(
            foreground, background, self.num_samples, self.foreground_fraction, seed)
        index = sampling.sample_indices(priorities, self.num_samples)

        gt_index = tf.where(unmatched, -1, match)
        classes = tf.gather(gt_classes, match, batch_dims=1)
        gt_class = tf.where(unmatched, tf.zeros_like(classes), classes)
        gt_box = tf.where(
            unmatched[..., tf.newaxis], 0.0, tf.gather(gt_boxes, match, batch_dims=1))
        return Regions(*(tf.gather(x, index, batch_dims=1)
                         for x in (boxes, gt_box, gt_class, gt_index)))


@gin.register(module="deepmac_ablate.modeling.detector")
@dataclasses.dataclass(frozen=True)
class BoxHead:
    """Head that classifies regions and refines their boxes.

    Attributes:
        num_convs: Number of convolutions.
        num_filters: Number of channels of the convolutions.
        num_fcs: Number of fully connected layers after the convolutions.
        fc_dims: Number of units of the fully connected layers.
        crop_size: Side of the feature crop of a region, in cells.
    """

    num_convs: Layers = 4
    num_filters: Channels = 256
    num_fcs: Layers = 1
    fc_dims: Units = 1024
    crop_size: Side = 7

    def build(
        self, num_classes: int, norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> tf_keras.layers.Layer:
        """Build the head: [b, k, crop, crop, c] -> (class logits, box offsets per class)."""
        return instance_heads.DetectionHead(
            num_classes=num_classes,
            num_convs=self.num_convs,
            num_filters=self.num_filters,
            num_fcs=self.num_fcs,
            fc_dims=self.fc_dims,
            kernel_regularizer=regularizer,
            **norm.options(),
        )


@gin.register(module="deepmac_ablate.modeling.detector")
@dataclasses.dataclass(frozen=True)
class Detections:
    """Selection of the final detections of an image from classified, refined regions.

    It uses one kernel that CPUs and GPUs have but TPUs do not. If the model is built on a TPU,
    `StaticDetections` is used instead, which finds the same boxes; the trial stays the same.

    Attributes:
        max_per_image: Largest number of detections per image.
        score_threshold: Boxes with a lower score are dropped.
        nms_iou: Boxes that overlap a better one of their class by more than this IoU are
            suppressed.
    """

    max_per_image: Count = 100
    score_threshold: Share = 0.05
    nms_iou: Share = 0.5

    def build(self) -> tf_keras.layers.Layer:
        """Build the layer for the devices of the strategy in scope; it has no variables."""
        if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
            return StaticDetections(self.max_per_image, self.score_threshold, self.nms_iou).build()
        return detection_generator.DetectionGenerator(
            max_num_detections=self.max_per_image,
            pre_nms_score_threshold=self.score_threshold,
            nms_iou_threshold=self.nms_iou,
            nms_version="batched",
        )


@gin.register(module="deepmac_ablate.modeling.detector")
@dataclasses.dataclass(frozen=True)
class StaticDetections(Detections):
    """Selection of final detections with static shapes on every device, as in published models.

    Tracing takes most of a minute for COCO's 90 classes. The boxes are those of `Detections`,
    unless `pre_nms_top_k` leaves some out.

    Attributes:
        pre_nms_top_k: Number of boxes per class that enter non-maximum suppression.
    """

    pre_nms_top_k: Count = 5000

    def build(self) -> tf_keras.layers.Layer:
        """Build the layer; it has no variables."""
        return detection_generator.DetectionGenerator(
            max_num_detections=self.max_per_image,
            pre_nms_top_k=self.pre_nms_top_k,
            pre_nms_score_threshold=self.score_threshold,
            nms_iou_threshold=self.nms_iou,
            nms_version="v2",
        )
