"""The smallest whole model, a batch for it and one training step: what the model tests share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from deepmac_ablate.modeling import mask_heads
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Norm, ResNetFPN
from deepmac_ablate.modeling.box_sources import GroundTruthBoxes
from deepmac_ablate.modeling.detector import BoxHead, Detections, RegionProposals, RegionSampler
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.modeling.normalization import MaskedBatchNormalization

IMAGE_SIZE = (64, 64)
NUM_CLASSES = 7
SEEN_CLASSES = (1, 2, 3)
MASK_CROP = 28
SEED = tf.constant([3, 5])


class Batch(NamedTuple):
    """What a training step takes."""

    images: tf.Tensor
    image_shape: tf.Tensor
    labels: dict[str, Any]


def anchors() -> Anchors:
    return Anchors(min_level=2, max_level=5, size=3.0, samples_per_image=64)


def conv_head(**changes: Any) -> mask_heads.ConvMaskHead:
    return mask_heads.ConvMaskHead(**{"num_convs": 1, "width": 8, "crop_size": 8, **changes})


def hourglass_head(**changes: Any) -> mask_heads.HourglassMaskHead:
    options = {"depth": 10, "width": 4, "crop_size": 8, "norm_epsilon": 1e-3}
    return mask_heads.HourglassMaskHead(**{**options, **changes})


def build_model(**changes: Any) -> MaskRCNN:
    """Builds a model of some 100,000 parameters with all its variables.

    Args:
        **changes: arguments of `MaskRCNN` that differ from the tiny ones.
    """
    options = {
        "num_classes": NUM_CLASSES,
        "image_size": IMAGE_SIZE,
        "backbone": ResNetFPN(10, fpn_filters=16, width_multiplier=0.125),
        "mask_boxes": GroundTruthBoxes(),
        "anchors": anchors(),
        "region_proposals": RegionProposals(
            num_filters=16, pre_nms_top_k=50, num_proposals=50,
            test_pre_nms_top_k=50, test_num_proposals=20),
        "region_sampler": RegionSampler(num_samples=16),
        "box_head": BoxHead(num_convs=1, num_filters=16, fc_dims=32),
        "detections": Detections(max_per_image=6, pre_nms_top_k=20),
        "norm": Norm(momentum=0.9),
        **changes,
    }
    options["mask_head"] = changes.get("mask_head") or conv_head()
    model = MaskRCNN(**options)
    model.create_variables()
    return model


def randomise(variables: list[tf.Variable], seed: int) -> None:
    """Moves variables off their initial zeros and ones, where mistakes would cancel."""
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


def batch(seed: int = 0, counts: tuple[int, ...] = (4, 2), slots: int = 6) -> Batch:
    """Draws a batch.

    Args:
        seed: of numpy's generator.
        counts: instances of each image; about half of them are of seen classes, the first is.
        slots: instances per image including padding.
    """
    rng = np.random.default_rng(seed)
    size = len(counts)
    images = rng.normal(size=(size, *IMAGE_SIZE, 3)).astype(np.float32)
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
    return Batch(tf.constant(images), tf.fill([size, 2], 64.0), labels(boxes, classes, masks))


def labels(boxes: np.ndarray, classes: np.ndarray, masks: np.ndarray) -> dict[str, Any]:
    """Completes annotations, padded with -1, to the labels of a training step."""
    targets = [
        anchors().label(IMAGE_SIZE, tf.constant(b[c > 0]), tf.constant([7, i]))
        for i, (b, c) in enumerate(zip(boxes, classes, strict=True))
    ]
    scores, offsets = (
        {level: tf.stack([one[level] for one in kind]) for level in kind[0]}
        for kind in zip(*targets, strict=True)
    )
    return {
        "gt_boxes": tf.constant(boxes),
        "gt_classes": tf.constant(classes),
        "gt_masks": tf.constant(masks),
        "gt_has_mask": tf.constant(np.isin(classes, SEEN_CLASSES)),
        "rpn_score_targets": scores,
        "rpn_box_targets": offsets,
    }


class Step(NamedTuple):
    """What one forward and backward pass gave."""

    outputs: dict[str, Any]
    losses: dict[str, tf.Tensor]
    gradients: list[tf.Tensor]


def step(
    model: MaskRCNN, data: Batch, seed: tf.Tensor = SEED, losses: Losses | None = None
) -> Step:
    """Runs a training step without an optimizer."""
    with tf.GradientTape() as tape:
        outputs = model(*data, seed=seed, training=True)
        values = (losses or Losses())(outputs, data.labels, model.losses)
    gradients = tape.gradient(values["total_loss"], model.trainable_variables)
    return Step(outputs, values, gradients)


def norms(layer: tf_keras.layers.Layer) -> list[MaskedBatchNormalization]:
    """All normalisation layers of a mask head."""
    return [x for x in layer._flatten_layers() if isinstance(x, MaskedBatchNormalization)]
