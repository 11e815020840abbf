"""Losses of Mask R-CNN and their weighted sum.

Each loss can be exchanged for a class of one's own, and further ones can be added::

    Losses.mask_loss = @DiceLoss()
    Losses.further_losses = [@BoundaryLoss()]

The usual losses are Model Garden's. Those that are means over a number of counted items (matched
anchors, regions with objects, pixels in slots) are implemented here, because Model Garden adds 0.01
to the divisor on each replica, so that losses depend, in the fourth digit, on the number of
devices.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import gin
import tensorflow as tf
from official.vision.losses import maskrcnn_losses

from deepmac_ablate.bindings.ranges import Range
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.autograph import call_part

Weight = Annotated[float, Range(0, 1000)]
_Delta = Annotated[float, Range(1e-6, 1000)]

_RPN_HUBER_DELTA, _BOX_HUBER_DELTA = 1.0 / 9.0, 1.0
_CONTEXT = 1.0
# Entries of the logged losses that no loss may be called.
_TOTALS = ("regularization_loss", "total_loss")


class Loss(abc.ABC):
    """A loss of the training step; derive a class from it to bind it to `Losses`.

    Attributes:
        name: The name under which it is logged if it is a further loss, such as "dice_loss".
        weight: Factor of the loss in the total; it is logged without it.
        needs_box_only: Whether the mask head runs on objects without a mask, too.
    """

    name: str = ""
    weight: float = 1.0
    needs_box_only: bool = False

    @abc.abstractmethod
    def __call__(self, outputs: Mapping[str, Any], labels: Mapping[str, Any]) -> tf.Tensor:
        """Compute the loss of one replica.

        Args:
            outputs: Outputs of `MaskRCNN` in training: `mask_outputs` and `mask_targets`
                [n, s, s] and `mask_slots` (see `MaskSlots`) of the mask head. Unless the detector
                is frozen, also `rpn_scores` [b, h, w, a] and `rpn_boxes` [b, h, w, 4 a] by level;
                `class_outputs` [b, k, classes], `box_outputs` [b, k, 4 classes], `class_targets`
                [b, k] and `box_targets` [b, k, 4] of the sampled regions.
            labels: Labels of the batch: `gt_boxes` [b, m, 4], `gt_classes` and `gt_has_mask`
                [b, m], and by level `rpn_score_targets` and `rpn_box_targets`.

        Returns:
            A float32 scalar whose mean over replicas is the loss of the batch; see
            `mean_over_all`.
        """


class MaskLoss(Loss):
    """A loss of predicted masks: its mean over the slots that hold a mask."""

    @abc.abstractmethod
    def loss(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Compute the loss of every mask, or of every cell.

        Args:
            logits: Predicted masks as logits, [n, s, s] float32.
            targets: Annotated masks in the same boxes, [n, s, s] float32 in [0, 1].

        Returns:
            [n] or [n, s, s] float32. The values of slots without a mask do not count.
        """

    def __call__(self, outputs: Mapping[str, Any], labels: Mapping[str, Any]) -> tf.Tensor:
        """Compute the mean; see `Loss`."""
        losses = self.loss(outputs["mask_outputs"], outputs["mask_targets"])
        counted = outputs["mask_slots"].has_mask
        return mean_over_all(losses, tf.reshape(counted, [-1] + [1] * (len(losses.shape) - 1)))


class MaskCrossEntropy(MaskLoss):
    """Cross-entropy of every cell."""

    def loss(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Compute the loss of every cell, [n, s, s]."""
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)


class RpnScoreLoss(Loss):
    """Cross-entropy of the objectness of sampled anchors."""

    def __call__(self, outputs: Mapping[str, Any], labels: Mapping[str, Any]) -> tf.Tensor:
        """Compute the loss; see `Loss`."""
        regions_per_image = tf.shape(outputs["box_outputs"])[1]
        return maskrcnn_losses.RpnScoreLoss(regions_per_image)(
            outputs["rpn_scores"], labels["rpn_score_targets"])


class RpnBoxLoss(Loss):
    """Huber loss of the boxes of matched anchors, added up over levels."""

    def __init__(self, delta: float) -> None:
        self._delta = delta

    def __call__(self, outputs: Mapping[str, Any], labels: Mapping[str, Any]) -> tf.Tensor:
        """Compute the loss; see `Loss`."""
        return tf.add_n([
            self._loss_of_level(offsets, labels["rpn_box_targets"][level])
            for level, offsets in outputs["rpn_boxes"].items()])

    def _loss_of_level(self, offsets: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Return the loss of box offsets [b, h, w, a * 4] of a level; a target of 0 is none."""
        targets = tf.reshape(targets, [-1, 4])
        matched = tf.reduce_any(tf.abs(targets) > 1e-6, axis=-1, keepdims=True)
        return mean_over_all(_huber(tf.reshape(offsets, [-1, 4]) - targets, self._delta), matched)


class ClassLoss(Loss):
    """Cross-entropy of the classes of regions."""

    def __init__(self) -> None:
        self._loss = maskrcnn_losses.FastrcnnClassLoss()

    def __call__(self, outputs: Mapping[str, Any], labels: Mapping[str, Any]) -> tf.Tensor:
        """Compute the loss; see `Loss`."""
        return self._loss(outputs["class_outputs"], outputs["class_targets"])


class BoxLoss(Loss):
    """Huber loss of the boxes of regions with an object, for the class of the object."""

    def __init__(self, delta: float) -> None:
        self._delta = delta

    def __call__(self, outputs: Mapping[str, Any], labels: Mapping[str, Any]) -> tf.Tensor:
        """Compute the loss; see `Loss`."""
        offsets, classes = outputs["box_outputs"], outputs["class_targets"]
        number, width = offsets.shape[1:]
        by_class = tf.reshape(offsets, [-1, number, width // 4, 4])
        # A product, because gathering is slow on a TPU.
        chosen = tf.one_hot(classes, width // 4, dtype=offsets.dtype)
        errors = tf.einsum("bnci,bnc->bni", by_class, chosen) - outputs["box_targets"]
        return mean_over_all(_huber(errors, self._delta), (classes > 0)[..., tf.newaxis])


@gin.register(module="deepmac_ablate.modeling.losses")
class Losses:
    """The losses of Mask R-CNN, by default Model Garden's, and their weighted sum.

    Attributes:
        box_only_context: See `MaskRCNN.box_only_context`; None without weak losses.
    """

    def __init__(
        self,
        rpn_score_weight: Weight = 1.0,
        rpn_box_weight: Weight = 1.0,
        class_weight: Weight = 1.0,
        box_weight: Weight = 1.0,
        mask_weight: Weight = 1.0,
        rpn_huber_delta: _Delta = _RPN_HUBER_DELTA,
        box_huber_delta: _Delta = _BOX_HUBER_DELTA,
        rpn_score_loss: Loss | None = None,
        rpn_box_loss: Loss | None = None,
        class_loss: Loss | None = None,
        box_loss: Loss | None = None,
        mask_loss: Loss | None = None,
        further_losses: Sequence[Loss] = (),
        box_only_context: Annotated[float, Range(0, 10)] | None = None,
    ) -> None:
        """Record the losses and check their names.

        Args:
            rpn_score_weight: Weight of the objectness loss of anchors.
            rpn_box_weight: Weight of the box loss of anchors.
            class_weight: Weight of the classification loss of regions.
            box_weight: Weight of the box loss of regions.
            mask_weight: Weight of the mask loss.
            rpn_huber_delta: Error of anchors at which their loss turns from quadratic to linear.
            box_huber_delta: The same for boxes of regions.
            rpn_score_loss: The objectness loss of anchors; None for cross-entropy.
            rpn_box_loss: The box loss of anchors; None for the Huber loss.
            class_loss: The classification loss of regions; None for cross-entropy.
            box_loss: The box loss of regions; None for the Huber loss.
            mask_loss: The mask loss; None for the cross-entropy of every cell.
            further_losses: Losses to add, each with its own name and weight.
            box_only_context: With weak losses among them, the share of a box's height and width by
                which the boxes of objects without a mask are enlarged; None for 1.0.

        Raises:
            UserError: If a further loss has no name of its own, or a setting has no effect.
        """
        for name, delta, default, loss in (
                ("rpn", rpn_huber_delta, _RPN_HUBER_DELTA, rpn_box_loss),
                ("box", box_huber_delta, _BOX_HUBER_DELTA, box_loss)):
            if loss is not None and delta != default:
                raise UserError(
                    f"Losses.{name}_huber_delta = {delta} has no effect, as "
                    f"{type(loss).__name__} takes the place of the Huber loss.")
        usual: dict[str, tuple[float, Loss]] = {
            "rpn_score_loss": (rpn_score_weight, rpn_score_loss or RpnScoreLoss()),
            "rpn_box_loss": (rpn_box_weight, rpn_box_loss or RpnBoxLoss(rpn_huber_delta)),
            "class_loss": (class_weight, class_loss or ClassLoss()),
            "box_loss": (box_weight, box_loss or BoxLoss(box_huber_delta)),
            "mask_loss": (mask_weight, mask_loss or MaskCrossEntropy()),
        }
        _check_names(further_losses, (*usual, *_TOTALS))
        weak = any(loss.needs_box_only for loss in (*further_losses, usual["mask_loss"][1]))
        if box_only_context is not None and not weak:
            raise UserError(
                f"Losses.box_only_context = {box_only_context} has no effect without a weak loss, "
                "such as Losses.further_losses = [@ProjectionLoss()].")
        self.box_only_context = (
            None if not weak else _CONTEXT if box_only_context is None else box_only_context)
        self._of_detector = tuple(list(usual)[:-1])
        self._losses = {name: loss for name, (_, loss) in usual.items()}
        self._losses |= {loss.name: loss for loss in further_losses}
        self._weights = {name: weight * loss.weight for name, (weight, loss) in usual.items()}
        self._weights |= {loss.name: loss.weight for loss in further_losses}

    def __call__(
        self,
        outputs: Mapping[str, Any],
        labels: Mapping[str, Any],
        regularization: list[tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Compute the losses of one replica; their mean over replicas is the loss of the batch.

        Args:
            outputs: Outputs of `MaskRCNN` in training. Without those of the detector, if it is
                frozen or another one, there are no losses of boxes. `detector_losses` are added
                as they are.
            labels: Labels of the batch, including the targets of anchors.
            regularization: Weight-decay terms of the model.

        Returns:
            Float32 scalars: each loss before weighting, `regularization_loss`, and `total_loss`.
        """
        left_out = () if "box_outputs" in outputs else self._of_detector
        losses = {
            name: tf.reduce_mean(call_part(loss, outputs, labels))
            for name, loss in self._losses.items() if name not in left_out}
        weighted = [self._weights[name] * value for name, value in losses.items()]
        # Those of another detector have their weights already.
        others = outputs.get("detector_losses", {})
        losses |= others
        weighted += others.values()
        losses["regularization_loss"] = tf.add_n([tf.constant(0.0), *regularization])
        losses["total_loss"] = tf.add_n([*weighted, losses["regularization_loss"]])
        return losses


def mean_over_all(losses: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
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


def _huber(errors: tf.Tensor, delta: float) -> tf.Tensor:
    size = tf.abs(errors)
    return tf.where(size <= delta, 0.5 * tf.square(errors), delta * size - 0.5 * delta**2)


def _check_names(further: Sequence[Loss], taken: Sequence[str]) -> None:
    """Raise a UserError unless each further loss has a name of its own."""
    names = [loss.name for loss in further]
    for loss, name in zip(further, names, strict=True):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise UserError(
                f"{type(loss).__name__}.name, under which the loss is logged, must be lower-case "
                f"letters, digits and underscores, such as 'dice_loss', got {name!r}.")
        if name in taken or names.count(name) > 1:
            raise UserError(
                f"{type(loss).__name__}.name = {name!r} is the name of another loss; those of "
                f"Losses.further_losses must differ from each other and from "
                f"{', '.join(taken)}.")
