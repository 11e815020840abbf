"""Interface of detectors, on which the mask branch does not depend.

A detector stands on the feature pyramid. It labels the ground-truth boxes in the input pipeline,
has outputs and losses of its own in training, finds objects in evaluation, and may offer regions in
which masks are trained.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from deepmac_ablate.modeling.backbones import Norm


class Regions(NamedTuple):
    """Regions on which a detector is trained.

    Attributes:
        boxes: Boxes, [b, k, 4] float32.
        gt_boxes: Matched ground-truth box, [b, k, 4]; zero for background.
        gt_classes: Class of that box, [b, k]; 0 for background.
        gt_index: Index of that box in its image, [b, k]; -1 for background.
    """

    boxes: tf.Tensor
    gt_boxes: tf.Tensor
    gt_classes: tf.Tensor
    gt_index: tf.Tensor


class Detector(abc.ABC):
    """Detector of a model, bound to `MaskRCNN.detector`.

    Attributes:
        finds_objects: Whether it detects objects; if not, masks are only predicted in given boxes.
        regions_per_image: Number of regions that it offers to train masks in; 0 if it has none.
        parts: What `build` has returned, once it belongs to a model.
    """

    finds_objects: bool = True
    regions_per_image: int = 0
    parts: Mapping[str, tf_keras.layers.Layer]

    @abc.abstractmethod
    def build(
        self,
        num_classes: int,
        image_size: Sequence[int],
        norm: Norm,
        regularizer: tf_keras.regularizers.Regularizer | None,
    ) -> dict[str, tf_keras.layers.Layer]:
        """Build the parts of the detector that have variables.

        Args:
            num_classes: Number of classes including background.
            image_size: Height and width of the images in pixels.
            norm: Normalisation of all layers.
            regularizer: Weight decay of all kernels.

        Returns:
            The parts by the names that they have in checkpoints, in `Training.freeze` and in
            `Training.init_parts`.
        """

    @abc.abstractmethod
    def run_layers(self, features: Mapping[str, tf.Tensor], training: bool) -> None:
        """Call every layer with variables once, as often as training would for one image.

        It creates the variables and is traced to count multiply-adds; nothing is computed.

        Args:
            features: Feature pyramid of one image.
            training: Whether the layers are called as in training.
        """

    def label(self, boxes: tf.Tensor, classes: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """Label the objects of one image, in the input pipeline.

        Args:
            boxes: Ground-truth boxes, [n, 4] float32 (ymin, xmin, ymax, xmax in pixels of the
                resized image), without padding.
            classes: Their classes, [n].
            seed: Seed of all draws, [2] integers.

        Returns:
            Labels of static shape, which `train` gets as a batch.
        """
        del boxes, classes, seed
        return {}

    @abc.abstractmethod
    def train(
        self,
        features: Mapping[str, tf.Tensor],
        image_shape: tf.Tensor,
        labels: Mapping[str, Any],
        seed: tf.Tensor,
        *,
        with_losses: bool,
    ) -> tuple[dict[str, Any], Regions | None]:
        """Run the detector in training.

        Args:
            features: Feature pyramid.
            image_shape: Height and width to clip boxes to, [b, 2] float32.
            labels: Labels of the batch, those of `label` among them.
            seed: Seed of all draws; see `sampling.uniform`.
            with_losses: False if nothing is trained that its losses depend on.

        Returns:
            Its outputs, empty without losses, and the regions that it offers. Outputs are what
            `Losses` computes Mask R-CNN's losses from (see `losses.Loss`), or `detector_losses`,
            weighted scalars by name.
        """

    def detect(
        self, features: Mapping[str, tf.Tensor], image_shape: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Detect objects.

        Args:
            features: Feature pyramid.
            image_shape: Height and width to which boxes are clipped, [b, 2] float32.

        Returns:
            `boxes` [b, k, 4], `classes` [b, k], `scores` [b, k] and `num_detections` [b].
        """
        raise NotImplementedError(f"{type(self).__name__} detects nothing.")
