"""Losses of Mask R-CNN and their weighted sum.

The losses are Model Garden's. Those that are means over a number of counted items (matched anchors,
regions with objects, pixels in slots) are implemented here, because Model Garden adds 0.01 to the
divisor on each replica, so that losses depend, in the fourth digit, on the number of devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import gin
import tensorflow as tf
from official.vision.losses import maskrcnn_losses

from deepmac_ablate.bindings.ranges import Range

Weight = Annotated[float, Range(0, 1000)]


@gin.register(module="deepmac_ablate.modeling.losses")
class Losses:
    """Model Garden's Mask R-CNN losses and their weights.

    Attributes:
        rpn_score_weight: Weight of the objectness loss of anchors.
        rpn_box_weight: Weight of the box loss of anchors.
        class_weight: Weight of the classification loss of regions.
        box_weight: Weight of the box loss of regions.
        mask_weight: Weight of the mask loss.
        rpn_huber_delta: Error at which the box loss of anchors turns from quadratic to linear.
        box_huber_delta: Error at which the box loss of regions turns from quadratic to linear.
    """

    def __init__(
        self,
        rpn_score_weight: Weight = 1.0,
        rpn_box_weight: Weight = 1.0,
        class_weight: Weight = 1.0,
        box_weight: Weight = 1.0,
        mask_weight: Weight = 1.0,
        rpn_huber_delta: Annotated[float, Range(1e-6, 1000)] = 1.0 / 9.0,
        box_huber_delta: Annotated[float, Range(1e-6, 1000)] = 1.0,
    ) -> None:
        self._weights = {
            "rpn_score_loss": rpn_score_weight,
            "rpn_box_loss": rpn_box_weight,
            "class_loss": class_weight,
            "box_loss": box_weight,
            "mask_loss": mask_weight,
        }
        self._rpn_huber_delta = rpn_huber_delta
        self._box_huber_delta = box_huber_delta
        self._class_loss = maskrcnn_losses.FastrcnnClassLoss()

    def __call__(
        self,
        outputs: Mapping[str, Any],
        labels: Mapping[str, Any],
        regularization: list[tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Compute the losses of one replica; their mean over replicas is the loss of the batch.

        Args:
            outputs: Outputs of `MaskRCNN` in training. Without those of the detector, which is
                then frozen, there are no losses of boxes.
            labels: Labels of the batch, including the targets of anchors.
            regularization: Weight-decay terms of the model.

        Returns:
            Float32 scalars: each loss before weighting, `regularization_loss`, and `total_loss`.
        """
        losses = {"mask_loss": self.mask_loss(outputs)}
        if "box_outputs" in outputs:
            losses = self._box_losses(outputs, labels) | losses
        losses = {name: tf.reduce_mean(value) for name, value in losses.items()}
        weighted = [self._weights[name] * value for name, value in losses.items()]
        losses["regularization_loss"] = tf.add_n([tf.constant(0.0), *regularization])
        losses["total_loss"] = tf.add_n([*weighted, losses["regularization_loss"]])
        return losses

    def _box_losses(
        self, outputs: Mapping[str, Any], labels: Mapping[str, Any]
    ) -> dict[str, tf.Tensor]:
        regions_per_image = tf.shape(outputs["box_outputs"])[1]
        return {
            "rpn_score_loss": maskrcnn_losses.RpnScoreLoss(regions_per_image)(
                outputs["rpn_scores"], labels["rpn_score_targets"]),
            "rpn_box_loss": tf.add_n([
                _rpn_box_loss(offsets, labels["rpn_box_targets"][level], self._rpn_huber_delta)
                for level, offsets in outputs["rpn_boxes"].items()]),
            "class_loss": self._class_loss(outputs["class_outputs"], outputs["class_targets"]),
            "box_loss": _box_loss(
                outputs["box_outputs"], outputs["class_targets"], outputs["box_targets"],
                self._box_huber_delta),
        }

    def mask_loss(self, outputs: Mapping[str, Any]) -> tf.Tensor:
        """Return the mask loss alone, before weighting; see `MaskRCNN.train_masks`."""
        return _mask_loss(
            outputs["mask_outputs"], outputs["mask_targets"], outputs["mask_slots"].valid)


def _rpn_box_loss(offsets: tf.Tensor, targets: tf.Tensor, delta: float) -> tf.Tensor:
    """Return the loss of box offsets [b, h, w, a * 4] of a level; a target of 0 is none."""
    targets = tf.reshape(targets, [-1, 4])
    matched = tf.reduce_any(tf.abs(targets) > 1e-6, axis=-1, keepdims=True)
    errors = tf.reshape(offsets, [-1, 4]) - targets
    return _mean_over_all(_huber(errors, delta), matched)


def _box_loss(
    outputs: tf.Tensor, classes: tf.Tensor, targets: tf.Tensor, delta: float
) -> tf.Tensor:
    """Return the loss of the offsets [b, n, c * 4] of each region's class [b, n] to [b, n, 4]."""
    number, width = outputs.shape[1:]
    by_class = tf.reshape(outputs, [-1, number, width // 4, 4])
    # A product, because gathering is slow on a TPU.
    chosen = tf.one_hot(classes, width // 4, dtype=outputs.dtype)
    errors = tf.einsum("bnci,bnc->bni", by_class, chosen) - targets
    return _mean_over_all(_huber(errors, delta), (classes > 0)[..., tf.newaxis])


def _mask_loss(logits: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Return the loss of masks [n, s, s] in the slots [n] that are valid."""
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
    return _mean_over_all(losses, valid[:, tf.newaxis, tf.newaxis])


def _huber(errors: tf.Tensor, delta: float) -> tf.Tensor:
    size = tf.abs(errors)
    return tf.where(size <= delta, 0.5 * tf.square(errors), delta * size - 0.5 * delta**2)


def _mean_over_all(losses: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Return a replica's part of the mean over the counted items of all replicas.

    Args:
        losses: Losses of any shape.
        counted: True for the items to count, bool, broadcastable to the shape of `losses`.

    Returns:
        A scalar whose mean over the replicas is the mean over all counted items.
    """
    weights = tf.broadcast_to(tf.cast(counted, losses.dtype), tf.shape(losses))
    context = tf.distribute.get_replica_context()
    number = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(weights))
    # Upstream avoids division by zero in this way.
    mean = tf.reduce_sum(losses * weights) / (number + 0.01)
    return mean * context.num_replicas_in_sync
