"""What every box source offers, and from what."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple

import gin
import tensorflow as tf
from official.vision.ops import spatial_transform_ops

from deepmac_ablate.box_jitter import Jitter, Mode
from deepmac_ablate.modeling import box_noise, sampling
from deepmac_ablate.modeling.detector import Regions


class GroundTruth(NamedTuple):
    """The annotated instances of a batch, padded to the same number per image.

    Attributes:
        boxes: [b, m, 4] float32, padding -1.
        classes: [b, m] integers, padding -1.
        masks: [b, m, s, s] float32, each instance's mask inside its own box.
        has_mask: [b, m] bool, true where training may see the mask.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    masks: tf.Tensor
    has_mask: tf.Tensor


class MaskBoxes(NamedTuple):
    """Boxes that the mask head may be trained in.

    Attributes:
        boxes: [b, n, 4] float32.
        classes: [b, n] class of the instance in each box; <= 0 where there is none.
        gt_index: [b, n] int32, which of the image's instances that is; 0 where there is none.
        valid: [b, n] bool, true where the box has a mask that training may see.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    gt_index: tf.Tensor
    valid: tf.Tensor


class BoxSource(abc.ABC):
    """Offers boxes to the mask head, and the mask inside each.

    Attributes:
        slots_per_image: how many boxes of an image the mask head is trained in; pooled over the
            images of a replica, so that one image may use the room that another leaves. Boxes
            beyond that are drawn from, and counted as dropped.
    """

    def __init__(self, slots_per_image: int) -> None:
        self.slots_per_image = slots_per_image

    @abc.abstractmethod
    def boxes(
        self, truth: GroundTruth, regions: Regions, image_size: Sequence[int], seed: tf.Tensor
    ) -> MaskBoxes:
        """Offer boxes.

        Args:
            truth: the annotations.
            regions: what the box head is trained on.
            image_size: height and width of the images in pixels.
            seed: what all draws are a function of, as `sampling.uniform` takes it.
        """

    @abc.abstractmethod
    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Crop the masks that belong into boxes.

        Args:
            boxes: [n, 4] boxes that `boxes` offered.
            gt_boxes: [n, 4] the box of the instance in each.
            gt_masks: [n, s, s] float32, the instance's mask inside `gt_boxes`.
            mask_size: side of the result.

        Returns:
            [n, mask_size, mask_size] float32 in [0, 1], soft at edges.
        """


@gin.register(module="deepmac_ablate.modeling.box_sources")
class GroundTruthBoxes(BoxSource):
    """The ground-truth boxes themselves: what the paper trains with (arXiv:2104.00613)."""

    def __init__(self, slots_per_image: int = 16) -> None:
        super().__init__(slots_per_image)

    def boxes(
        self, truth: GroundTruth, regions: Regions, image_size: Sequence[int], seed: tf.Tensor
    ) -> MaskBoxes:
        """Offer every ground-truth box; see `BoxSource.boxes`."""
        del regions, image_size, seed
        batch, slots = tf.shape(truth.classes)[0], truth.classes.shape[1]
        index = tf.tile(tf.range(slots)[tf.newaxis], [batch, 1])
        return MaskBoxes(truth.boxes, truth.classes, index, (truth.classes > 0) & truth.has_mask)

    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Resize the masks, which already are those inside the boxes."""
        del boxes, gt_boxes
        return tf.squeeze(tf.image.resize(gt_masks[..., tf.newaxis], [mask_size, mask_size]), -1)


@gin.register(module="deepmac_ablate.modeling.box_sources")
class JitteredGroundTruthBoxes(BoxSource):
    """The ground-truth boxes, each moved a little, differently at every step.

    What the mask head sees and what it is to answer are moved together: the target is the part of
    the annotated mask that lies in the jittered box, and nothing outside the ground-truth box. (The
    paper's other code base did so when it was published; later it crops features in ground-truth
    boxes and moves the target alone.)
    """

    def __init__(
        self, ratio: float = gin.REQUIRED, mode: Mode = "default", slots_per_image: int = 16
    ) -> None:
        """Record the noise.

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
        """Offer every ground-truth box, moved; see `BoxSource.boxes`."""
        del regions
        batch, slots = tf.shape(truth.classes)[0], truth.classes.shape[1]
        draws = sampling.uniform(tf.shape(truth.boxes), seed)
        moved = box_noise.jitter_boxes(truth.boxes, draws, self._jitter, image_size)
        present = truth.classes > 0
        # Padding stays what it was.
        boxes = tf.where(present[..., tf.newaxis], moved, truth.boxes)
        index = tf.tile(tf.range(slots)[tf.newaxis], [batch, 1])
        return MaskBoxes(boxes, truth.classes, index, present & truth.has_mask)

    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Sample each mask on a grid over its moved box; zero outside the ground-truth box.

        Where a box did not move, this is what `GroundTruthBoxes` gives.
        """
        side = gt_masks.shape[-1]
        rows = _interpolation(boxes[:, 0::2], gt_boxes[:, 0::2], mask_size, side)
        columns = _interpolation(boxes[:, 1::2], gt_boxes[:, 1::2], mask_size, side)
        return tf.einsum("nij,njk,nlk->nil", rows, gt_masks, columns)


def _interpolation(
    target: tf.Tensor, source: tf.Tensor, target_cells: int, source_cells: int
) -> tf.Tensor:
    """Return the matrices that resample one axis linearly from one interval to another.

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


@gin.register(module="deepmac_ablate.modeling.box_sources")
class ProposalBoxes(BoxSource):
    """The box head's sampled regions: how Mask R-CNN is usually trained (arXiv:1703.06870)."""

    def __init__(
        self, max_per_image: int = 128, slots_per_image: int = 64, with_groundtruth: bool = True
    ) -> None:
        """Record what to offer.

        Args:
            max_per_image: how many regions of an image are offered at most; all that hold an
                object, if not less than `RegionSampler.num_samples * foreground_fraction`.
            slots_per_image: see `BoxSource`.
            with_groundtruth: whether a region may be exactly the ground-truth box of its object, as
                those are that `RegionSampler.mix_gt_boxes` adds. Without them the box head is
                trained as before; without mixing it would be trained differently, too.
        """
        super().__init__(slots_per_image)
        self._max_per_image = max_per_image
        self._with_groundtruth = with_groundtruth

    def boxes(
        self, truth: GroundTruth, regions: Regions, image_size: Sequence[int], seed: tf.Tensor
    ) -> MaskBoxes:
        """Offer the regions that hold an object; see `BoxSource.boxes`."""
        del image_size, seed
        classes = regions.gt_classes
        if not self._with_groundtruth:
            annotated = tf.reduce_all(tf.equal(regions.boxes, regions.gt_boxes), axis=-1)
            classes = tf.where(annotated, tf.zeros_like(classes), classes)
        number = min(self._max_per_image, classes.shape[1])
        chosen = tf.math.top_k(tf.cast(classes > 0, tf.int32), k=number).indices
        boxes, classes, index = (
            tf.gather(x, chosen, batch_dims=1) for x in (regions.boxes, classes, regions.gt_index))
        index = tf.maximum(index, 0)
        has_mask = tf.gather(truth.has_mask, index, batch_dims=1)
        return MaskBoxes(boxes, classes, index, (classes > 0) & has_mask)

    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Crop the part of each mask that lies in its region."""
        return spatial_transform_ops.crop_mask_in_target_box(
            gt_masks[tf.newaxis], gt_boxes[tf.newaxis], boxes[tf.newaxis], mask_size,
            sample_offset=0.5,
        )[0]
