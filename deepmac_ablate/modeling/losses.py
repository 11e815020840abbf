"""The losses of Mask R-CNN, summed and weighted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gin
import tensorflow as tf
from official.vision.losses import maskrcnn_losses


@gin.register
class Losses:
    """Model Garden's Mask R-CNN losses and their weights.

    Attributes:
        rpn_score_weight: weight of the anchors' objectness loss.
        rpn_box_weight: weight of their box loss.
        class_weight: weight of the regions' classification loss.
        box_weight: weight of their box loss.
        mask_weight: weight of the mask loss.
        rpn_huber_delta: where the anchors' box loss turns from quadratic to linear.
        box_huber_delta: the same for the regions' box loss.
    """

    def __init__(
        self,
        rpn_score_weight: float = 1.0,
        rpn_box_weight: float = 1.0,
        class_weight: float = 1.0,
        box_weight: float = 1.0,
        mask_weight: float = 1.0,
        rpn_huber_delta: float = 1.0 / 9.0,
        box_huber_delta: float = 1.0,
    ) -> None:
        self._weights = {
            "rpn_score_loss": rpn_score_weight,
            "rpn_box_loss": rpn_box_weight,
            "class_loss": class_weight,
            "box_loss": box_weight,
            "mask_loss": mask_weight,
        }
        self._rpn_box_loss = maskrcnn_losses.RpnBoxLoss(rpn_huber_delta)
        self._class_loss = maskrcnn_losses.FastrcnnClassLoss()
        self._box_loss = maskrcnn_losses.FastrcnnBoxLoss(box_huber_delta)
        self._mask_loss = maskrcnn_losses.MaskrcnnLoss()

    def __call__(
        self,
        outputs: Mapping[str, Any],
        labels: Mapping[str, Any],
        regularization: list[tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Computes the losses of one replica.

        Args:
            outputs: what `MaskRCNN` returns in training.
            labels: a batch's labels, with the anchors' targets.
            regularization: the model's weight-decay terms.

        Returns:
            Scalars float32: each loss before weighting, `regularization_loss`, and `total_loss`.
        """
        regions_per_image = tf.shape(outputs["box_outputs"])[1]
        # The mask loss counts slots with class > 0; empty ones get class 0.
        slots = outputs["mask_slots"]
        mask_classes = tf.where(slots.valid, slots.classes, tf.zeros_like(slots.classes))
        losses = {
            "rpn_score_loss": maskrcnn_losses.RpnScoreLoss(regions_per_image)(
                outputs["rpn_scores"], labels["rpn_score_targets"]),
            "rpn_box_loss": self._rpn_box_loss(outputs["rpn_boxes"], labels["rpn_box_targets"]),
            "class_loss": self._class_loss(outputs["class_outputs"], outputs["class_targets"]),
            "box_loss": self._box_loss(
                outputs["box_outputs"], outputs["class_targets"], outputs["box_targets"]),
            "mask_loss": self._mask_loss(
                outputs["mask_outputs"][tf.newaxis], outputs["mask_targets"][tf.newaxis],
                mask_classes[tf.newaxis]),
        }
        losses = {name: tf.reduce_mean(value) for name, value in losses.items()}
        weighted = [self._weights[name] * value for name, value in losses.items()]
        losses["regularization_loss"] = tf.add_n([tf.constant(0.0), *regularization])
        losses["total_loss"] = tf.add_n([*weighted, losses["regularization_loss"]])
        return losses
