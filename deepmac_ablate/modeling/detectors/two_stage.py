"""The detector of Mask R-CNN: region proposals, and a head that classifies and refines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.modeling.layers import roi_aligner
from official.vision.ops import box_ops

from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.autograph import call_in_float32, call_part
from deepmac_ablate.modeling.backbones import Norm
from deepmac_ablate.modeling.detectors.base import Detector, Regions
from deepmac_ablate.modeling.detectors.region_parts import (
    REGRESSION_WEIGHTS,
    BoxHead,
    Detections,
    RegionProposals,
    RegionSampler,
)


class TwoStageDetector(Detector):
    """Faster R-CNN on a feature pyramid (arXiv:1506.01497, arXiv:1612.03144).

    It takes its components from `MaskRCNN`, so that they are bound there.

    Attributes:
        regions_per_image: Number of regions per image on which the box head is trained.
        region_sampler: Sampler of these regions.
    """

    def __init__(
        self, anchors: Anchors, region_proposals: RegionProposals, region_sampler: RegionSampler,
        box_head: BoxHead, detections: Detections,
    ) -> None:
        """Store the components.

        Args:
            anchors: Anchors of the region proposal network.
            region_proposals: Region proposal network.
            region_sampler: Sampler of the proposals on which the box head is trained.
            box_head: Head that classifies and refines proposals.
            detections: Selection of final detections from the predictions of the box head.
        """
        self.region_sampler = region_sampler
        self.regions_per_image = region_sampler.num_samples
        self._anchors = anchors
        self._region_proposals = region_proposals
        self._box_head = box_head
        self._detections = detections

    def build(
        self, num_classes: int, image_size: Sequence[int], norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> dict[str, tf_keras.layers.Layer]:
        """Build region proposal network and box head; see `Detector.build`."""
        self._image_size = tuple(image_size)
        self._rpn_head = self._region_proposals.build_head(self._anchors, norm, regularizer)
        self._roi_generator = self._region_proposals.build_generator()
        self._roi_aligner = roi_aligner.MultilevelROIAligner(crop_size=self._box_head.crop_size)
        self._detection_head = self._box_head.build(num_classes, norm, regularizer)
        self._detection_generator = self._detections.build()
        return {"rpn_head": self._rpn_head, "detection_head": self._detection_head}

    def run_layers(self, features: Mapping[str, tf.Tensor], training: bool) -> None:
        """Call both heads, the box head on all its regions; see `Detector.run_layers`."""
        call_part(self._rpn_head, features, training=training)
        # Only the shape of the crops matters; those of the aligner take longer than both heads.
        level, size = next(iter(features.values())), self._box_head.crop_size
        crops = tf.zeros([1, self.regions_per_image, size, size, level.shape[-1]], level.dtype)
        call_part(self._detection_head, crops, training=training)

    def label(self, boxes: tf.Tensor, classes: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """Label the anchors; see `Detector.label` and `Anchors.label`."""
        del classes
        scores, offsets = self._anchors.label(self._image_size, boxes, seed)
        return {"rpn_score_targets": scores, "rpn_box_targets": offsets}

    def train(
        self, features: Mapping[str, tf.Tensor], image_shape: tf.Tensor,
        labels: Mapping[str, Any], seed: tf.Tensor, *, with_losses: bool,
    ) -> tuple[dict[str, Any], Regions | None]:
        """Propose and sample regions, and run the box head on them; see `Detector.train`."""
        scores, offsets, proposals = self._propose(features, image_shape, training=True)
        regions = call_part(
            self.region_sampler.sample, proposals, labels["gt_boxes"], labels["gt_classes"], seed)
        if not with_losses:
            return {}, regions
        outputs = {"rpn_scores": scores, "rpn_boxes": offsets}
        return outputs | self._train_boxes(features, regions), regions

    def _train_boxes(
        self, features: Mapping[str, tf.Tensor], regions: Regions
    ) -> dict[str, tf.Tensor]:
        """Run the box head on regions; return its outputs and their targets."""
        crops = self._roi_aligner(features, regions.boxes)
        class_outputs, box_outputs = call_in_float32(self._detection_head, crops, training=True)
        targets = box_ops.encode_boxes(regions.gt_boxes, regions.boxes, weights=REGRESSION_WEIGHTS)
        background = (regions.gt_classes == 0)[..., tf.newaxis]
        return {"class_outputs": class_outputs, "box_outputs": box_outputs,
                "class_targets": regions.gt_classes,
                "box_targets": tf.where(background, tf.zeros_like(targets), targets)}

    def detect(
        self, features: Mapping[str, tf.Tensor], image_shape: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Detect objects; see `Detector.detect`."""
        _, _, proposals = self._propose(features, image_shape, training=False)
        crops = self._roi_aligner(features, proposals)
        class_outputs, box_outputs = call_in_float32(self._detection_head, crops, training=False)
        found = call_part(
            self._detection_generator, box_outputs, class_outputs, proposals, image_shape,
            REGRESSION_WEIGHTS, bbox_per_class=True)
        return {"boxes": found["detection_boxes"], "classes": found["detection_classes"],
                "scores": found["detection_scores"], "num_detections": found["num_detections"]}

    def _propose(
        self, features: Mapping[str, tf.Tensor], image_shape: tf.Tensor, training: bool
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], tf.Tensor]:
        """Return scores and box offsets of all anchors by level, and [b, k, 4] proposals."""
        scores, offsets = call_in_float32(self._rpn_head, features, training=training)
        batch = tf.shape(image_shape)[0]
        anchors = {level: tf.tile(boxes[tf.newaxis], [batch, 1, 1, 1])
                   for level, boxes in self._anchors.boxes(self._image_size).items()}
        proposals, _ = call_part(
            self._roi_generator, offsets, scores, anchors, image_shape, training=training)
        return scores, offsets, tf.stop_gradient(proposals)
