"""A minimal complete model, a batch for it and a training step, for tests of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from deepmac_ablate.modeling import mask_heads
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Norm, ResNetFPN
from deepmac_ablate.modeling.box_sources import GroundTruthBoxes
from deepmac_ablate.modeling.detectors import Regions
from deepmac_ablate.modeling.detectors.region_parts import (
    BoxHead,
    Detections,
    RegionProposals,
    RegionSampler,
)
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.modeling.normalization import BatchNorm

IMAGE_SIZE = (64, 64)
NUM_CLASSES = 7
SEEN_CLASSES = (1, 2, 3)
# Not the target size of any head, so that masks are always resized, down or up.
MASK_CROP = 40
SEED = tf.constant([3, 5])
ANCHORS = Anchors(min_level=2, max_level=5, size=3.0, samples_per_image=64)


class Batch(NamedTuple):
    """The inputs of a training step."""

    images: tf.Tensor
    image_shape: tf.Tensor
    labels: dict[str, Any]


def conv_head(**changes: Any) -> mask_heads.ConvMaskHead:
    return mask_heads.ConvMaskHead(**{"num_convs": 1, "width": 8, "crop_size": 8, **changes})


def separable_head(**changes: Any) -> mask_heads.SeparableConvMaskHead:
    return mask_heads.SeparableConvMaskHead(
        **{"num_convs": 1, "width": 8, "crop_size": 8, **changes})


def hourglass_head(**changes: Any) -> mask_heads.HourglassMaskHead:
    options = {"depth": 10, "width": 4, "crop_size": 8, "norm": BatchNorm(0.9, 1e-3)}
    return mask_heads.HourglassMaskHead(**{**options, **changes})


def resnet_head(**changes: Any) -> mask_heads.ResNetMaskHead:
    return mask_heads.ResNetMaskHead(**{"depth": 4, "width": 4, "crop_size": 8, **changes})


def fully_connected_head(**changes: Any) -> mask_heads.FullyConnectedMaskHead:
    options = {"width": 4, "fc_dims": 16, "crop_size": 8, "mask_size": 12}
    return mask_heads.FullyConnectedMaskHead(**{**options, **changes})


def build_model(**changes: Any) -> MaskRCNN:
    """Build a model of some 100,000 parameters; its first call creates the variables.

    Args:
        **changes: Arguments of `MaskRCNN` that differ from the tiny ones.
    """
    options = {
        "num_classes": NUM_CLASSES,
        "image_size": IMAGE_SIZE,
        "backbone": ResNetFPN(10, fpn_filters=16, width_multiplier=0.125),
        "mask_boxes": GroundTruthBoxes(),
        "anchors": ANCHORS,
        "region_proposals": RegionProposals(
            num_filters=16, pre_nms_top_k=50, num_proposals=50,
            test_pre_nms_top_k=50, test_num_proposals=20),
        "region_sampler": RegionSampler(num_samples=16),
        "box_head": BoxHead(num_convs=1, num_filters=16, fc_dims=32),
        "detections": Detections(max_per_image=6),
        "norm": Norm(momentum=0.9),
        **changes,
    }
    options["mask_head"] = changes.get("mask_head") or conv_head()
    return MaskRCNN(**options)


def randomise(variables: list[tf.Variable], seed: int) -> None:
    """Move variables off their initial zeros and ones, with which mistakes would cancel out."""
    rng = np.random.default_rng(seed)
    for variable in variables:
        shape, name = variable.shape.as_list(), variable.name
        if "gamma" in name or "moving_variance" in name:
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif "kernel" in name:
            fan_in = np.prod(shape[:-1])
            variable.assign(rng.normal(scale=fan_in**-0.5, size=shape))
        else:
            variable.assign(rng.normal(scale=0.1, size=shape))


def batch(
    counts: tuple[int, ...] = (4, 2),
    slots: int = 6,
    image_size: tuple[int, int] = IMAGE_SIZE,
    anchors: Anchors | None = None,
    seed: int = 0,
) -> Batch:
    """Draw a batch, always the same for a seed.

    Args:
        counts: Instances of each image; about half of them are of seen classes, the first is.
        slots: Instances per image including padding.
        image_size: Height and width of the images, all of it without padding.
        anchors: The model's, for which the labels are made.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    size = len(counts)
    images = rng.normal(size=(size, *image_size, 3)).astype(np.float32)
    boxes = np.full((size, slots, 4), -1.0, np.float32)
    classes = np.full((size, slots), -1, np.int32)
    masks = np.full((size, slots, MASK_CROP, MASK_CROP), -1.0, np.float32)
    for i, count in enumerate(counts):
        top_left = rng.uniform(0, 30, (count, 2))
        boxes[i, :count] = np.concatenate(
            [top_left, top_left + rng.uniform(8, 34, (count, 2))], axis=1)
        classes[i, :count] = rng.integers(1, NUM_CLASSES, count)
        classes[i, : min(count, 1)] = SEEN_CLASSES[i % len(SEEN_CLASSES)]
        masks[i, :count] = rng.uniform(size=(count, MASK_CROP, MASK_CROP)) > 0.5
    score_targets, box_targets = rpn_targets(boxes, classes, image_size, anchors or ANCHORS)
    labels = {
        "gt_boxes": tf.constant(boxes),
        "gt_classes": tf.constant(classes),
        "gt_masks": tf.constant(masks),
        "gt_has_mask": tf.constant(np.isin(classes, SEEN_CLASSES)),
        "rpn_score_targets": score_targets,
        "rpn_box_targets": box_targets,
    }
    shape = tf.constant([image_size] * size, tf.float32)
    return Batch(tf.constant(images), shape, labels)


def anchor_labels(
    image_size: tuple[int, int], anchors: Anchors = ANCHORS
) -> Callable[..., dict[str, Any]]:
    """Return the function that labels the objects of an image, as Mask R-CNN's detector does."""
    def label(boxes: tf.Tensor, classes: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        del classes
        scores, offsets = anchors.label(image_size, boxes, seed)
        return {"rpn_score_targets": scores, "rpn_box_targets": offsets}

    return label


def rpn_targets(
    boxes: np.ndarray, classes: np.ndarray, image_size: tuple[int, int], anchors: Anchors
) -> list[dict[str, tf.Tensor]]:
    """Label the anchors of a batch with score targets and box targets by level."""
    by_image = [
        anchors.label(image_size, tf.constant(b[c > 0]), tf.constant([7, i]))
        for i, (b, c) in enumerate(zip(boxes, classes, strict=True))
    ]
    return [
        {level: tf.stack([image[level] for image in kind]) for level in kind[0]}
        for kind in zip(*by_image, strict=True)
    ]


class FixedRegions(RegionSampler):
    """Stand-in for a model's sampler that returns fixed regions."""

    def __init__(self, regions: Regions) -> None:
        object.__setattr__(self, "regions", regions)

    def sample(self, *_: Any, **__: Any) -> Regions:
        """Return the regions."""
        return self.regions


def regions(data: Batch, number: int = 16) -> Regions:
    """Draw regions near and far from the instances of a batch, half of them objects."""
    rng = np.random.default_rng(11)
    truth = data.labels["gt_boxes"].numpy()[:, :6]
    near = np.repeat(truth, 4, axis=1) + rng.normal(scale=2.0, size=(len(truth), 24, 4))
    corner = rng.uniform(0, 40, (len(truth), 24, 2))
    far = np.concatenate([corner, corner + rng.uniform(5, 24, corner.shape)], axis=-1)
    proposals = np.clip(np.concatenate([near, far], axis=1), 0.0, 64.0).astype(np.float32)
    return RegionSampler(num_samples=number, foreground_fraction=0.5, mix_gt_boxes=False).sample(
        tf.constant(proposals), data.labels["gt_boxes"], data.labels["gt_classes"], SEED)


class Step(NamedTuple):
    """The results of one forward and backward pass."""

    outputs: dict[str, Any]
    losses: dict[str, tf.Tensor]
    gradients: list[tf.Tensor]


def step(model: MaskRCNN, data: Batch, seed: tf.Tensor = SEED) -> Step:
    """Run a training step without an optimizer."""
    with tf.GradientTape() as tape:
        outputs = model(*data, seed=seed, training=True)
        values = Losses()(outputs, data.labels, model.losses)
    gradients = tape.gradient(values["total_loss"], model.trainable_variables)
    return Step(outputs, values, gradients)
