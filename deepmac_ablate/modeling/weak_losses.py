"""Weak losses: training of masks by boxes alone, for objects whose mask is missing.

BoxInst's two losses (Tian et al., CVPR 2021, arXiv:2012.02310, section 3). The mask must touch all
edges of its box and nothing beyond them (`ProjectionLoss`), and neighbouring pixels of the same
colour belong together (`ColourAffinityLoss`). Boxes are enlarged, so that there is something beyond
their edges: inside of them, a full box would satisfy both.

They are further losses::

    Losses.further_losses = [@ProjectionLoss(), @ColourAffinityLoss()]

A weak loss of one's own is derived from `WeakLoss`.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import gin
import tensorflow as tf
from official.vision.ops import preprocess_ops

from deepmac_ablate.bindings.ranges import Range, Share
from deepmac_ablate.modeling.losses import Loss, Weight, mean_over_all
from deepmac_ablate.modeling.mask_slots import MaskSlots
from deepmac_ablate.modeling.roi_align import crop_features

_EPSILON = 1e-5
# Samples along each side of a cell, of which its colour is the mean.
_SAMPLES = 2
# From linear sRGB to XYZ (IEC 61966-2-1), and the white point D65.
_XYZ = (
    (0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
# Where the cube root of CIELAB turns linear.
_LINEAR = 6.0 / 29.0


class WeakLoss(Loss):
    """A loss of objects that have a box and no mask; its presence makes the mask head run on them.

    In `outputs`, `mask_slots` marks these objects as valid without `has_mask`, in enlarged boxes
    (`Losses.box_only_context`). `mask_colours` [n, s, s, 3] are the CIELAB colours of the image in
    these boxes, and `step` is the number of the training step.
    """

    needs_box_only = True

    def __call__(self, outputs: Mapping[str, Any], labels: Mapping[str, Any]) -> tf.Tensor:
        """Compute the loss of one replica; see `Loss`."""
        del labels
        slots = outputs["mask_slots"]
        logits = outputs["mask_outputs"]
        return self.loss(
            logits, box_masks(slots, logits.shape[1]), slots.valid & ~slots.has_mask, outputs)

    @abc.abstractmethod
    def loss(
        self, logits: tf.Tensor, boxes: tf.Tensor, counted: tf.Tensor, outputs: Mapping[str, Any]
    ) -> tf.Tensor:
        """Compute the loss.

        Args:
            logits: Predicted masks, [n, s, s] float32.
            boxes: The ground-truth box of each object as a mask on the same grid, [n, s, s]
                float32, 1 inside and 0 outside.
            counted: Slots that hold an object without a mask, [n] bool.
            outputs: Outputs of the model in training.

        Returns:
            A scalar; see `mean_over_all`.
        """


@gin.register(module="deepmac_ablate.modeling.weak_losses")
class ProjectionLoss(WeakLoss):
    """Dice loss of the projections of mask and box on both axes (BoxInst, equations 1 and 2)."""

    name = "projection_loss"

    def __init__(self, weight: Weight = 1.0) -> None:
        """Store the weight.

        Args:
            weight: Weight of the loss.
        """
        self.weight = weight

    def loss(
        self, logits: tf.Tensor, boxes: tf.Tensor, counted: tf.Tensor, outputs: Mapping[str, Any]
    ) -> tf.Tensor:
        """Compute the loss, in [0, 2]; see `WeakLoss.loss`."""
        del outputs
        masks = tf.sigmoid(logits)
        losses = tf.add_n([
            _dice(tf.reduce_max(masks, axis), tf.reduce_max(boxes, axis)) for axis in (1, 2)])
        return mean_over_all(losses, counted)


@gin.register(module="deepmac_ablate.modeling.weak_losses")
class ColourAffinityLoss(WeakLoss):
    """Negative log-likelihood that cells of similar colour are both of the object, or both not.

    Pairs are those of BoxInst's equations 4 to 8: each cell in the box and its eight neighbours at
    a distance, if their colours are similar.
    """

    name = "colour_affinity_loss"

    def __init__(
        self, weight: Weight = 1.0, threshold: Share = 0.3,
        dilations: Sequence[Annotated[int, Range(1, 16)]] = (1, 2),
        warm_up_steps: Annotated[int, Range(0, 10_000_000)] = 10_000,
    ) -> None:
        """Store the settings.

        Args:
            weight: Weight of the loss.
            threshold: Least similarity exp(-|difference of CIELAB colours| / 2) of a pair, in
                [0, 1]: 0.3 in BoxInst, 0.4 in DeepMAC.
            dilations: Distances of the two cells of a pair along each axis, in cells of the mask.
                BoxInst takes 2. Here, 1 is among them: up-sampling heads have weights of their own
                for odd and even cells, which pairs at a distance of 2 alone would leave apart, so
                that half of the cells could stay empty.
            warm_up_steps: Steps over which the loss grows from 0 in proportion to the step.
                Without it, masks become empty but for a line, before projections have filled them.
        """
        self.weight = weight
        self._threshold = threshold
        self._dilations = tuple(dilations)
        self._warm_up_steps = warm_up_steps

    def loss(
        self, logits: tf.Tensor, boxes: tf.Tensor, counted: tf.Tensor, outputs: Mapping[str, Any]
    ) -> tf.Tensor:
        """Compute the loss; see `WeakLoss.loss`."""
        boxes *= tf.cast(counted, boxes.dtype)[:, tf.newaxis, tf.newaxis]
        losses, weights = [], []
        pairs = [pair for each in self._dilations for pair in _pairs(logits.shape[1], each)]
        for one, other in pairs:
            (inside, log_in, colours), (inside_too, log_in_too, colours_too) = (
                (boxes[:, y, x], logits[:, y, x], outputs["mask_colours"][:, y, x])
                for y, x in (one, other))
            distance = tf.norm(colours - colours_too, axis=-1)
            similar = tf.cast(tf.exp(-distance / 2.0) >= self._threshold, boxes.dtype)
            # A pair counts once for each of its cells in the box.
            weights.append(_flat(similar * (inside + inside_too)))
            losses.append(_flat(_disagreement(log_in, log_in_too)))
        loss = mean_over_all(tf.concat(losses, axis=1), tf.concat(weights, axis=1))
        if not self._warm_up_steps:
            return loss
        step = tf.cast(outputs["step"], tf.float32)
        return loss * tf.minimum(step / self._warm_up_steps, 1.0)


def box_masks(slots: MaskSlots, size: int) -> tf.Tensor:
    """Return the ground-truth box in each slot as a mask on a grid over the slot's box.

    Args:
        slots: The slots, [n].
        size: Side of the grid.

    Returns:
        [n, size, size] float32, 1 for cells whose centre is in the box, otherwise 0.
    """
    at = (tf.range(size, dtype=tf.float32) + 0.5) / size
    inside = []
    for axis in (0, 1):
        low, high = slots.boxes[:, axis, tf.newaxis], slots.boxes[:, axis + 2, tf.newaxis]
        centres = low + at * (high - low)
        inside.append((centres >= slots.gt_boxes[:, axis, tf.newaxis])
                      & (centres <= slots.gt_boxes[:, axis + 2, tf.newaxis]))
    return tf.cast(inside[0][:, :, tf.newaxis] & inside[1][:, tf.newaxis, :], tf.float32)


def crop_colours(
    images: tf.Tensor, boxes: tf.Tensor, image_index: tf.Tensor, size: int
) -> tf.Tensor:
    """Return the colours of an image on a grid over boxes.

    Args:
        images: Normalised images, [b, h, w, 3].
        boxes: Boxes in pixels, [n, 4].
        image_index: Index in the batch of the image of each box, [n] int32.
        size: Side of the grid.

    Returns:
        CIELAB colours, [n, size, size, 3] float32: L in 0..100, a and b about -100..100.
    """
    crops = crop_features({"0": images}, boxes, image_index, size * _SAMPLES)
    crops = tf.nn.avg_pool2d(tf.cast(crops, tf.float32), _SAMPLES, _SAMPLES, "VALID")
    rgb = crops * preprocess_ops.STDDEV_NORM + preprocess_ops.MEAN_NORM
    return rgb_to_lab(tf.clip_by_value(rgb, 0.0, 1.0))


def rgb_to_lab(rgb: tf.Tensor) -> tf.Tensor:
    """Convert sRGB in [0, 1] to CIELAB with the white point D65, both [..., 3] float32."""
    linear = tf.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = tf.tensordot(linear, tf.constant(_XYZ), axes=[[-1], [1]]) / tf.constant(_WHITE)
    root = tf.where(
        xyz > _LINEAR**3, tf.maximum(xyz, _LINEAR**3) ** (1 / 3),
        xyz / (3 * _LINEAR**2) + 4.0 / 29.0)
    x, y, z = tf.unstack(root, axis=-1)
    return tf.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def _dice(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Return the Dice loss of rows of numbers, [n, s] and [n, s] -> [n]."""
    overlap = tf.reduce_sum(one * other, axis=1)
    size = tf.reduce_sum(one**2, axis=1) + tf.reduce_sum(other**2, axis=1)
    return 1.0 - 2.0 * overlap / (size + _EPSILON)


def _pairs(size: int, distance: int) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Return the cells of all neighbouring pairs as slices: down, right, and both diagonals."""
    near, far, every = slice(0, size - distance), slice(distance, size), slice(0, size)
    return [
        ((near, every), (far, every)), ((every, near), (every, far)),
        ((near, near), (far, far)), ((near, far), (far, near))]


def _disagreement(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Return -log of the probability that two cells are both of the object or both not."""
    both = tf.math.log_sigmoid(one) + tf.math.log_sigmoid(other)
    neither = tf.math.log_sigmoid(-one) + tf.math.log_sigmoid(-other)
    return -tf.reduce_logsumexp(tf.stack([both, neither]), axis=0)


def _flat(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, [-1, values.shape[1] * values.shape[2]])
