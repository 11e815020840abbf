"""Mask R-CNN with exchangeable backbone, mask head and box source (arXiv:1703.06870)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import gin
import tensorflow as tf
import tf_keras

from deepmac_ablate.bindings.ranges import Range, Share
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import mask_slots, stochastic_depth
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.autograph import call_part, disabled, is_own, needs_autograph
from deepmac_ablate.modeling.backbones import Backbone, Norm
from deepmac_ablate.modeling.box_sources import BoxSource, GroundTruth
from deepmac_ablate.modeling.detectors import Detector, Regions, TwoStageDetector
from deepmac_ablate.modeling.detectors.region_parts import (
    BoxHead,
    Detections,
    RegionProposals,
    RegionSampler,
)
from deepmac_ablate.modeling.mask_heads import MaskHead
from deepmac_ablate.modeling.mask_inputs import MaskInput
from deepmac_ablate.modeling.roi_align import crop_features
from deepmac_ablate.modeling.weak_losses import crop_colours


@gin.register(module="deepmac_ablate.modeling.mask_rcnn")
class MaskRCNN(tf_keras.Model):
    """Mask R-CNN: detects objects, and segments them inside detected or given boxes.

    Attributes:
        num_classes: Number of classes including background.
        image_size: Height and width of the images in pixels.
        mask_inputs: Further channels for the mask head.
        anchors: Anchors of the region proposal network; their levels are those of the pyramid.
        detector: The detector.
        pad_to_all_slots: Whether the mask head runs on padding too.
        trim_slots: Whether training leaves out slots that are empty. The number of slots then
            depends on the batch, which XLA cannot compile; results stay the same to rounding.
        box_only_context: Share by which the boxes of objects without a mask are enlarged, to train
            their masks by weak losses; None leaves these objects to the detector.
    """

    def __init__(
        self,
        num_classes: Annotated[int, Range(2, 100_000)] = gin.REQUIRED,
        image_size: Sequence[Annotated[int, Range(1, 16_384)]] = gin.REQUIRED,
        backbone: Backbone = gin.REQUIRED,
        mask_head: MaskHead = gin.REQUIRED,
        mask_boxes: BoxSource = gin.REQUIRED,
        anchors: Anchors = gin.REQUIRED,
        region_proposals: RegionProposals = gin.REQUIRED,
        region_sampler: RegionSampler = gin.REQUIRED,
        box_head: BoxHead = gin.REQUIRED,
        detections: Detections = gin.REQUIRED,
        norm: Norm = gin.REQUIRED,
        detector: Detector | None = None,
        mask_inputs: Sequence[MaskInput] = (),
        pad_to_all_slots: bool = False,
        l2_weight_decay: Share = 4e-5,
    ) -> None:
        """Create the layers.

        Args:
            num_classes: Number of classes including background.
            image_size: Height and width of the images in pixels, multiples of 2**max_level.
            backbone: Network that computes the feature pyramid for all heads.
            mask_head: Head that predicts a mask from the features inside a box.
            mask_boxes: Source of the boxes in which the mask head is trained.
            anchors: Anchors of the region proposal network.
            region_proposals: Region proposal network.
            region_sampler: Sampler of the proposals on which the box head is trained.
            box_head: Head that classifies and refines proposals.
            detections: Selection of final detections from the predictions of the box head.
            norm: Batch normalisation of backbone, pyramid, region proposals and box head.
            detector: The detector; None for that of Mask R-CNN, whose components are the five
                arguments above. Every detector uses the pyramid levels of `anchors`.
            mask_inputs: Further channels for the mask head, beside the features inside a box.
            pad_to_all_slots: Whether the mask head runs on everything that the box source offers,
                padding included, as in the paper's published code; the box source's
                `slots_per_image` then has no effect.
            l2_weight_decay: Weight of half the sum of squares of the kernels in the loss.

        Raises:
            UserError: If `image_size` does not suit the pyramid, or the box source needs regions
                that the detector does not have.
        """
        super().__init__()
        anchors.check_image_size(image_size)
        self.num_classes = num_classes
        self.image_size = tuple(image_size)
        self.anchors = anchors
        self.pad_to_all_slots = pad_to_all_slots
        self.trim_slots = False
        self.box_only_context: float | None = None
        self._mask_boxes = mask_boxes
        self.detector = detector or TwoStageDetector(
            anchors, region_proposals, region_sampler, box_head, detections)
        if mask_boxes.needs_regions and not self.detector.regions_per_image:
            raise UserError(
                f"MaskRCNN.mask_boxes = @{type(mask_boxes).__name__}() needs the regions of a "
                f"detector, and {type(self.detector).__name__} has none; use GroundTruthBoxes or "
                "JitteredGroundTruthBoxes.")
        # tf.nn.l2_loss halves the sum of squares; Keras does not.
        decay = tf_keras.regularizers.l2(l2_weight_decay / 2.0) if l2_weight_decay else None

        self.backbone, self.decoder = self.build_pyramid(backbone, norm, decay)
        self.detector.parts = self.detector.build(num_classes, self.image_size, norm, decay)
        # By their names in checkpoints.
        for name, part in self.detector.parts.items():
            setattr(self, name, part)
        mask_head.attach(num_classes, decay)
        self.mask_head = mask_head
        self.mask_inputs = list(mask_inputs)

    def build_pyramid(
        self, backbone: Backbone, norm: Norm, decay: tf_keras.regularizers.Regularizer | None
    ) -> tuple[tf_keras.Model, tf_keras.layers.Layer]:
        """Build backbone and decoder; see `Backbone.build`."""
        build = backbone.build if needs_autograph(backbone) else disabled(backbone.build)
        return build(self.image_size, self.anchors.min_level, self.anchors.max_level, norm, decay)

    @property
    def trains_detector(self) -> bool:
        """Whether any part but the mask branch is trained, so that the detector has losses."""
        return any(part.trainable for part in (
            self.backbone, self.decoder, *self.detector.parts.values()))

    def create_variables(self) -> None:
        """Create all variables by calling the layers that have any in a graph that never runs."""

        @disabled
        def call_layers() -> None:
            features = self.features(tf.zeros([1, *self.image_size, 3]))
            self._call_detector(self.detector.run_layers, features, training=False)
            boxes, number = tf.zeros([1, 4]), tf.zeros([1], tf.int32)
            self.predict_masks(features, boxes, number, number)

        # As Keras does for functional models; a tf.function that creates variables is traced twice.
        with tf.__internal__.FuncGraph("variables").as_default(), tf.name_scope(self.name):
            call_layers()

    def call(
        self,
        images: tf.Tensor,
        image_shape: tf.Tensor,
        labels: Mapping[str, Any] | None = None,
        seed: tf.Tensor | None = None,
        training: bool = False,
    ) -> dict[str, Any]:
        """Run the whole model.

        Args:
            images: Normalised images, [b, h, w, 3].
            image_shape: Height and width to clip boxes to, [b, 2]: with padding, as upstream.
            labels: Labels `gt_boxes` [b, m, 4], `gt_classes` [b, m], `gt_masks` [b, m, s, s] and
                `gt_has_mask` [b, m]; needed in training.
            seed: Seed of all draws of a training step; see `sampling.uniform`.
            training: Whether to return the inputs of the losses or final predictions.

        Returns:
            In training, the inputs of `Losses`; a frozen detector has none. Otherwise `boxes`
            [b, k, 4], `classes` [b, k], `scores` [b, k], `num_detections` [b], `masks` [b, k,
            mask_size, mask_size] in [0, 1] and the decoder's `features`.
        """
        features = self.features(images, seed, training=training)
        if not training:
            return self._detect_and_segment(features, image_shape)
        outputs, regions = {}, None
        if self.trains_detector or self._mask_boxes.needs_regions:
            outputs, regions = self._call_detector(
                self.detector.train, features, image_shape, labels, seed,
                with_losses=self.trains_detector)
        return {**outputs, **self.train_masks(features, regions, labels, seed, images)}

    def features(
        self, images: tf.Tensor, seed: tf.Tensor | None = None, training: bool = False
    ) -> dict[str, tf.Tensor]:
        """[b, h, w, 3] -> {level: [b, h / 2**level, w / 2**level, c]}; see `call`."""
        with stochastic_depth.seeded(seed):
            found = call_part(self.backbone, images, training=training)
            return call_part(self.decoder, found, training=training)

    def train_masks(
        self,
        features: Mapping[str, tf.Tensor],
        regions: Regions | None,
        labels: Mapping[str, tf.Tensor],
        seed: tf.Tensor,
        images: tf.Tensor | None = None,
    ) -> dict[str, Any]:
        """Run the mask head on the boxes of its source; return logits, targets and slots.

        With `box_only_context`, the objects without a mask are among them, and the colours of
        `images` in the boxes are returned as well.
        """
        truth = GroundTruth(
            labels["gt_boxes"], labels["gt_classes"], labels["gt_masks"], labels["gt_has_mask"])
        # The region sampler draws from `seed` itself; shifted seeds keep the draws independent.
        boxes = call_part(
            self._mask_boxes.boxes, truth, regions, self.image_size, tf.add(seed, [2, 0]))
        if self.box_only_context is not None:
            boxes = mask_slots.add_box_only(
                boxes, truth, self.box_only_context, self.image_size, tf.add(seed, [3, 0]))
        if self.pad_to_all_slots:
            slots = mask_slots.all_slots(boxes, truth)
        else:
            budget = self._mask_boxes.slots_per_image * boxes.classes.shape[0]
            slots = mask_slots.packed_slots(
                boxes, truth, budget, tf.add(seed, [1, 0]), trim=self.trim_slots)
        valid = None if self.pad_to_all_slots else slots.valid
        crops = self._mask_crops(features, slots.boxes, slots.image_index)
        logits = call_part(self.mask_head, crops, slots.classes, valid=valid, training=True)
        targets = call_part(
            self._mask_boxes.targets, slots.boxes, slots.gt_boxes, slots.gt_masks,
            self.mask_head.mask_size)
        outputs = {"mask_outputs": tf.cast(logits, tf.float32),
                   "mask_targets": tf.stop_gradient(targets), "mask_slots": slots}
        if self.box_only_context is not None and images is not None:
            outputs["mask_colours"] = crop_colours(
                images, slots.boxes, slots.image_index, logits.shape[1])
        return outputs

    def predict_masks(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        image_index: tf.Tensor,
        classes: tf.Tensor,
    ) -> tf.Tensor:
        """Segment the objects in boxes.

        Args:
            features: Features from the decoder.
            boxes: Boxes in pixels of the image, [n, 4] float32.
            image_index: Index in the batch of the image of each box, [n] int32.
            classes: Classes, [n] integers; ignored if the head is class-agnostic.

        Returns:
            For each cell of a grid over the box, the probability that it belongs to the object,
            [n, mask_size, mask_size] float32.
        """
        crops = self._mask_crops(features, boxes, image_index)
        logits = call_part(self.mask_head, crops, classes, training=False)
        return tf.sigmoid(tf.cast(logits, tf.float32))

    def detect(
        self, features: Mapping[str, tf.Tensor], image_shape: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Detect objects.

        Args:
            features: Features from the decoder.
            image_shape: Height and width to which boxes are clipped, [b, 2] float32; see `call`.

        Returns:
            `boxes` [b, k, 4], `classes` [b, k], `scores` [b, k] and `num_detections` [b].

        Raises:
            UserError: If the model has no detector.
        """
        if not self.detector.finds_objects:
            raise UserError(
                f"A model with {type(self.detector).__name__} detects nothing; it can only segment "
                "objects in given boxes.")
        return self._call_detector(self.detector.detect, features, image_shape)

    def _detect_and_segment(
        self, features: Mapping[str, tf.Tensor], image_shape: tf.Tensor
    ) -> dict[str, Any]:
        found = self.detect(features, image_shape)
        number, size = found["boxes"].shape[1], self.mask_head.mask_size
        masks = self.predict_masks(
            features, tf.reshape(found["boxes"], [-1, 4]),
            tf.repeat(tf.range(tf.shape(image_shape)[0]), number),
            tf.reshape(found["classes"], [-1]))
        masks = tf.reshape(masks, [-1, number, size, size])
        return {"features": features, **found, "masks": masks}

    def _mask_crops(
        self, features: Mapping[str, tf.Tensor], boxes: tf.Tensor, image_index: tf.Tensor
    ) -> tf.Tensor:
        """Return the input of the mask head in each box: features and further channels."""
        crops = crop_features(features, boxes, image_index, self.mask_head.crop_size)
        return tf.concat([crops, *(call_part(each, crops) for each in self.mask_inputs)], axis=-1)

    def _call_detector(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call a method of the detector, with AutoGraph only if its class is a user's."""
        # The parts of built-in detectors look after themselves.
        call = call_part if is_own(self.detector) else lambda function, *a, **k: function(*a, **k)
        return call(method, *args, **kwargs)
