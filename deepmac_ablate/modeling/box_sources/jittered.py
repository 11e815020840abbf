"""Annotated boxes with noise: between annotated boxes and proposals."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tensorflow as tf

from deepmac_ablate.jitter import Jitter, Mode
from deepmac_ablate.modeling import box_noise, sampling
from deepmac_ablate.modeling.box_sources.base import BoxSource, GroundTruth, MaskBoxes
from deepmac_ablate.modeling.detector import Regions


@gin.register(module=__package__)
class JitteredGroundTruthBoxes(BoxSource):
    """The annotated boxes, each moved a little, differently at every step.

    What the mask head sees and what it is to answer are moved together: the target is the part of
    the annotated mask that lies in the jittered box, and nothing outside the annotated box. (The
    paper's other code base did so when it was published; later it crops features in annotated
    boxes and moves the target alone.)
    """

    def __init__(
        self, ratio: float = gin.REQUIRED, mode: Mode = "default", slots_per_image: int = 16
    ) -> None:
        """Notes the noise.

        Args:
            ratio: an edge moves by at most half of this share of the side that it bounds, 0 or
                more; less than 1 where boxes may shrink.
            mode: which edges move and where to; see `jitter`.
            slots_per_image: see `BoxSource`.

        Raises:
            UserError: if the ratio is out of its range.
        """
        super().__init__(slots_per_image)
        self._jitter = Jitter(ratio, mode)

    def boxes(
        self, truth: GroundTruth, regions: Regions, image_size: Sequence[int], seed: tf.Tensor
    ) -> MaskBoxes:
        """Offers every annotated box, moved; see `BoxSource.boxes`."""
        del regions
        batch, slots = tf.shape(truth.classes)[0], truth.classes.shape[1]
        draws = sampling.uniform(tf.shape(truth.boxes), seed)
        moved = box_noise.jittered(truth.boxes, draws, self._jitter, image_size)
        present = truth.classes > 0
        # Padding stays what it was.
        boxes = tf.where(present[..., tf.newaxis], moved, truth.boxes)
        index = tf.tile(tf.range(slots)[tf.newaxis], [batch, 1])
        return MaskBoxes(boxes, truth.classes, index, present & truth.has_mask)

    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Samples each mask on a grid over its moved box; zero outside the annotated box.

        Where a box did not move, this is what `GroundTruthBoxes` gives.
        """
        side = gt_masks.shape[-1]
        rows = _interpolation(boxes[:, 0::2], gt_boxes[:, 0::2], mask_size, side)
        columns = _interpolation(boxes[:, 1::2], gt_boxes[:, 1::2], mask_size, side)
        return tf.einsum("nij,njk,nlk->nil", rows, gt_masks, columns)


def _interpolation(
    target: tf.Tensor, source: tf.Tensor, target_cells: int, source_cells: int
) -> tf.Tensor:
    """Returns the matrices that resample one axis linearly from one interval to another.

    Args:
        target: [n, 2] first and last coordinate of the interval that is wanted.
        source: [n, 2] those of the interval that is known.
        target_cells: cells of the one, whose centres are sampled.
        source_cells: cells of the other, whose values stand at their centres.

    Returns:
        [n, target_cells, source_cells] float32: weights; all zero for a sample outside `source`.
    """
    at = (tf.range(target_cells, dtype=tf.float32) + 0.5) / target_cells
    positions = target[:, :1] + at * (target[:, 1:] - target[:, :1])
    # 0..1 from end to end of the source.
    relative = tf.math.divide_no_nan(positions - source[:, :1], source[:, 1:] - source[:, :1])
    inside = (relative >= 0.0) & (relative <= 1.0)
    # Between the last cell's centre and the end, its value.
    cells = tf.clip_by_value(relative * source_cells - 0.5, 0.0, source_cells - 1.0)
    distance = tf.abs(cells[..., tf.newaxis] - tf.range(source_cells, dtype=tf.float32))
    return tf.where(inside[..., tf.newaxis], tf.maximum(1.0 - distance, 0.0), 0.0)
