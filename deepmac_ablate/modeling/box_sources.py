"""Box sources: the boxes in which the mask head is trained, and the target mask in each.

A new box source is a new subclass of `BoxSource`, and a gin file that selects it.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import gin
import tensorflow as tf
from official.vision.ops import spatial_transform_ops

from deepmac_ablate.bindings.ranges import Count, Range, Slots
from deepmac_ablate.box_jitter import MAX_RATIO, Jitter, Mode
from deepmac_ablate.modeling import box_noise, sampling
from deepmac_ablate.modeling.detectors import Regions


class GroundTruth(NamedTuple):
    """The annotated instances of a batch, padded to the same number per image.

    Attributes:
        boxes: Ground-truth boxes, [b, m, 4] float32, padded with -1.
        classes: Classes, [b, m] integers, padded with -1.
        masks: Mask of each instance inside its own box, [b, m, s, s] float32.
        has_mask: True where training may see the mask, [b, m] bool.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    masks: tf.Tensor
    has_mask: tf.Tensor


class MaskBoxes(NamedTuple):
    """Boxes in which the mask head may be trained.

    Attributes:
        boxes: Boxes, [b, n, 4] float32.
        classes: Class of the instance in each box, [b, n] integers; at most 0 if there is none.
        gt_index: Index of that instance in its image, [b, n] int32; 0 if there is none.
        valid: True where the box has a mask that training may see, [b, n] bool.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    gt_index: tf.Tensor
    valid: tf.Tensor


class BoxSource(abc.ABC):
    """Source of the boxes in which the mask head is trained, and of the target mask in each.

    Attributes:
        slots_per_image: Number of boxes per image in which the mask head is trained. The slots are
            pooled over the images of a replica, so that one image may use those that another leaves
            empty. If there are more boxes than slots, a random choice is trained on, and the rest
            are counted as dropped.
    """

    needs_regions = True

    def __init__(self, slots_per_image: int) -> None:
        self.slots_per_image = slots_per_image

    @abc.abstractmethod
    def boxes(
        self, truth: GroundTruth, regions: Regions | None, image_size: Sequence[int],
        seed: tf.Tensor,
    ) -> MaskBoxes:
        """Offer boxes.

        Args:
            truth: Annotated instances.
            regions: Regions on which the box head is trained; None if the detector is frozen and
                the source does not need them.
            image_size: Height and width of the images in pixels.
            seed: Seed of all draws; see `sampling.uniform`.
        """

    @abc.abstractmethod
    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Return the target mask inside each box.

        Args:
            boxes: Boxes from the method `boxes`, [n, 4].
            gt_boxes: Ground-truth box of the instance in each, [n, 4].
            gt_masks: Mask of the instance inside `gt_boxes`, [n, s, s] float32.
            mask_size: Side of the target masks.

        Returns:
            [n, mask_size, mask_size] float32 in [0, 1], soft at edges.
        """


@gin.register(module="deepmac_ablate.modeling.box_sources")
class GroundTruthBoxes(BoxSource):
    """The ground-truth boxes, as the paper recommends for training (arXiv:2104.00613)."""

    needs_regions = False

    def __init__(self, slots_per_image: Slots = 16) -> None:
        super().__init__(slots_per_image)

    def boxes(
        self, truth: GroundTruth, regions: Regions | None, image_size: Sequence[int],
        seed: tf.Tensor,
    ) -> MaskBoxes:
        """Offer every ground-truth box; see `BoxSource.boxes`."""
        del regions, image_size, seed
        batch, slots = tf.shape(truth.classes)[0], truth.classes.shape[1]
        index = tf.tile(tf.range(slots)[tf.newaxis], [batch, 1])
        return MaskBoxes(truth.boxes, truth.classes, index, (truth.classes > 0) & truth.has_mask)

    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Resize the masks, which are already those inside the boxes."""
        del boxes, gt_boxes
        return tf.squeeze(tf.image.resize(gt_masks[..., tf.newaxis], [mask_size, mask_size]), -1)


@gin.register(module="deepmac_ablate.modeling.box_sources")
class JitteredGroundTruthBoxes(BoxSource):
    """Ground-truth boxes with random jitter, drawn anew at every step.

    Input and target of the mask head are moved together: the target is the part of the annotated
    mask that lies in the jittered box, and zero outside the ground-truth box. (The paper's other
    code base did so when it was published; later versions crop features in the ground-truth boxes
    and move the target alone.)
    """

    needs_regions = False

    def __init__(
        self, ratio: Annotated[float, Range(0, MAX_RATIO)] = gin.REQUIRED, mode: Mode = "default",
        slots_per_image: Slots = 16,
    ) -> None:
        """Store the settings.

        Args:
            ratio: Strength of the jitter: an edge moves by at most half of this share
                of the side that it bounds. Less than 1 in modes in which boxes may shrink.
            mode: Edges that move, and in which direction; see `box_jitter`.
            slots_per_image: Number of boxes per image in which the mask head is trained, pooled
                over the images of a replica; see `BoxSource`.

        Raises:
            UserError: If the ratio is out of range.
        """
        super().__init__(slots_per_image)
        self._jitter = Jitter(ratio, mode)

    def boxes(
        self, truth: GroundTruth, regions: Regions | None, image_size: Sequence[int],
        seed: tf.Tensor,
    ) -> MaskBoxes:
        """Offer every ground-truth box with jitter; see `BoxSource.boxes`."""
        del regions
        batch, slots = tf.shape(truth.classes)[0], truth.classes.shape[1]
        draws = sampling.uniform(tf.shape(truth.boxes), seed)
        moved = box_noise.jitter_boxes(truth.boxes, draws, self._jitter, image_size)
        present = truth.classes > 0
        # Padding stays -1.
        boxes = tf.where(present[..., tf.newaxis], moved, truth.boxes)
        index = tf.tile(tf.range(slots)[tf.newaxis], [batch, 1])
        return MaskBoxes(boxes, truth.classes, index, present & truth.has_mask)

    def targets(
        self, boxes: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, mask_size: int
    ) -> tf.Tensor:
        """Sample each mask on a grid over its jittered box; zero outside the ground-truth box.

        For a box that did not move, this is the target of `GroundTruthBoxes`.
        """
        side = gt_masks.shape[-1]
        rows = _interpolation(boxes[:, 0::2], gt_boxes[:, 0::2], mask_size, side)
        columns = _interpolation(boxes[:, 1::2], gt_boxes[:, 1::2], mask_size, side)
        return tf.einsum("nij,njk,nlk->nil", rows, gt_masks, columns)


@gin.register(module="deepmac_ablate.modeling.box_sources")
class ProposalBoxes(BoxSource):
    """Regions sampled for the box head, as Mask R-CNN is usually trained (arXiv:1703.06870)."""

    def __init__(
        self, max_per_image: Count = 128, slots_per_image: Slots = 64, with_groundtruth: bool = True
    ) -> None:
        """Store the settings.

        Args:
            max_per_image: Largest number of regions offered per image. All regions with an object
                are offered if this is at least `RegionSampler.num_samples * foreground_fraction`.
            slots_per_image: Number of boxes per image in which the mask head is trained, pooled
                over the images of a replica; see `BoxSource`.
            with_groundtruth: Whether to offer regions that equal the ground-truth box of their
                object, such as those that `RegionSampler.mix_gt_boxes` adds. Leaving them out here
                does not change the training of the box head, as turning off the mixing would.
        """
        super().__init__(slots_per_image)
        self._max_per_image = max_per_image
        self._with_groundtruth = with_groundtruth

    def boxes(
        self, truth: GroundTruth, regions: Regions | None, image_size: Sequence[int],
        seed: tf.Tensor,
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
        # As a batch of images with one mask each: their number may be known only at run time.
        return spatial_transform_ops.crop_mask_in_target_box(
            gt_masks[:, tf.newaxis], gt_boxes[:, tf.newaxis], boxes[:, tf.newaxis], mask_size,
            sample_offset=0.5,
        )[:, 0]


def _interpolation(
    target: tf.Tensor, source: tf.Tensor, target_cells: int, source_cells: int
) -> tf.Tensor:
    """Return the matrices that resample one axis linearly from one interval to another.

    Args:
        target: First and last coordinate of the target intervals, [n, 2].
        source: First and last coordinate of the source intervals, [n, 2].
        target_cells: Number of cells of a target interval, which are sampled at their centres.
        source_cells: Number of cells of a source interval, whose values are at their centres.

    Returns:
        Weights, [n, target_cells, source_cells] float32; zero for a sample outside `source`.
    """
    at = (tf.range(target_cells, dtype=tf.float32) + 0.5) / target_cells
    positions = target[:, :1] + at * (target[:, 1:] - target[:, :1])
    # From 0 to 1 over the source.
    relative = tf.math.divide_no_nan(positions - source[:, :1], source[:, 1:] - source[:, :1])
    inside = (relative >= 0.0) & (relative <= 1.0)
    # Between the centre of the last cell and the end, the value is that of the last cell.
    cells = tf.clip_by_value(relative * source_cells - 0.5, 0.0, source_cells - 1.0)
    distance = tf.abs(cells[..., tf.newaxis] - tf.range(source_cells, dtype=tf.float32))
    return tf.where(inside[..., tf.newaxis], tf.maximum(1.0 - distance, 0.0), 0.0)
