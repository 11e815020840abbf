"""Our model, training step and input in the settings of benchmarks, and their arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from deepmac_ablate.data import convert_coco
from deepmac_ablate.data.shapes import generate
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.modeling import box_sources, mask_heads
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Backbone, Norm, ResNetFPN
from deepmac_ablate.modeling.detectors import region_parts
from deepmac_ablate.modeling.losses import Losses, MaskCrossEntropy
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.modeling.normalization import BatchNorm
from deepmac_ablate.modeling.optimization import SGD
from deepmac_ablate.sweep.validation.multiply_adds import count_multiply_adds
from tests.benchmarks.settings import Setting
from tests.helpers import coco_tiny
from tests.helpers.tiny_model import anchor_labels

Step = Callable[[tf.Tensor, dict], tf.Tensor]
MaskStep = Callable[[dict[str, tf.Tensor], dict], tf.Tensor]
# FLOPs per multiply-add of a forward pass: two, and the two backward passes.
_DIRECTIONS = 2 * 3


def make_anchors(setting: Setting) -> Anchors:
    """Return the anchors of the region proposals."""
    return Anchors(min_level=2, max_level=setting.max_level, size=setting.anchor_size)


def build_model(setting: Setting, backbone: Backbone | None = None) -> MaskRCNN:
    """Build our model with all its variables."""
    sizes = {"width": setting.head_width, "crop_size": setting.crop_size}
    if setting.head == "default":
        head = mask_heads.ConvMaskHead(**sizes)
    else:
        head = mask_heads.HourglassMaskHead(
            depth=int(setting.head.removeprefix("hourglass")), norm=BatchNorm(0.1, 1e-5),
            tail_norm=BatchNorm(0.997, 1e-4), weight_decay=False, **sizes)
    model = MaskRCNN(
        num_classes=setting.num_classes, image_size=(setting.image_size,) * 2,
        backbone=backbone or ResNetFPN(setting.depth, fpn_filters=setting.filters),
        mask_head=head, anchors=make_anchors(setting),
        mask_boxes=box_sources.GroundTruthBoxes(slots_per_image=setting.slots_per_image),
        region_proposals=region_parts.RegionProposals(
            num_filters=setting.filters, pre_nms_top_k=setting.pre_nms_top_k,
            num_proposals=setting.num_proposals),
        region_sampler=region_parts.RegionSampler(num_samples=setting.num_samples),
        box_head=region_parts.BoxHead(
            num_convs=setting.box_convs, num_filters=setting.filters, num_fcs=setting.box_fcs,
            fc_dims=setting.fc_dims),
        detections=region_parts.Detections(max_per_image=20), norm=Norm())
    model.create_variables()
    return model


def train_step(setting: Setting, backbone: Backbone | None = None, trim: bool = True) -> Step:
    """Return the training step of our model; `trim` as in training without XLA."""
    model = build_model(setting, backbone)
    model.trim_slots = trim
    losses, optimizer = Losses(), SGD(1e-4)

    @tf.function
    def step(images: tf.Tensor, labels: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = model(images, labels["image_info"][:, 1], labels=labels,
                            seed=tf.constant([0, 0]), training=True)
            loss = losses(outputs, labels, model.losses)["total_loss"]
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step


def mask_step(setting: Setting) -> MaskStep:
    """Return crops, mask head and mask loss of ours, forwards and backwards."""
    model, mask_loss = build_model(setting), MaskCrossEntropy()
    model.trim_slots = True
    variables = model.mask_head.trainable_variables

    @tf.function
    def step(features: dict[str, tf.Tensor], labels: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = model.train_masks(features, None, labels, tf.constant([0, 0]))
            loss = mask_loss(outputs, labels)
        gradients = tape.gradient(loss, [variables, features])
        return loss + touch(gradients)

    return step


def touch(gradients: list) -> tf.Tensor:
    """Return nearly zero in a way that needs all gradients; a product with zero is pruned."""
    return 1e-30 * tf.add_n([
        tf.reshape(tf.convert_to_tensor(g), [-1])[0] for g in tf.nest.flatten(gradients)])


def training_input(setting: Setting, prefix: str, batch_size: int) -> tf.data.Dataset:
    """Return our input of training."""
    size = (setting.image_size,) * 2
    return TrainingData(prefix, batch_size).dataset(
        size, anchor_labels(size, make_anchors(setting)), frozenset(setting.seen), seed=0)


def batches(
    setting: Setting, prefix: str, batch_size: int, number: int
) -> list[tuple[tf.Tensor, dict]]:
    """Return the first training batches, with the anchors that upstream takes from the labels."""
    anchors = {
        level: tf.repeat(boxes[tf.newaxis], batch_size, axis=0)
        for level, boxes in make_anchors(setting).boxes((setting.image_size,) * 2).items()}
    return [(images, {**labels, "anchor_boxes": anchors})
            for images, labels in training_input(setting, prefix, batch_size).take(number)]


def typical_batches(
    setting: Setting, prefix: str, batch_size: int, number: int
) -> list[tuple[tf.Tensor, dict]]:
    """Return batches whose numbers of masks are quantiles of those of six times as many."""
    candidates = batches(setting, prefix, batch_size, 6 * number)
    candidates.sort(key=lambda pair: int(tf.math.count_nonzero(pair[1]["gt_has_mask"])))
    return candidates[3::6]


def used_slots(setting: Setting, prefix: str, batch_size: int, number: int) -> float:
    """Return the mean number of mask slots that our step works on in typical batches."""
    budget = batch_size * setting.slots_per_image
    part = -(-budget // 8)
    used = []
    for _, labels in typical_batches(setting, prefix, batch_size, number):
        masks = int(tf.math.count_nonzero(labels["gt_has_mask"]))
        used.append(min(budget, part * max(1, -(-masks // part))))
    return sum(used) / len(used)


def head_flops(setting: Setting, slots: float) -> float:
    """Return the FLOPs of convolutions of the mask head in so many slots, in both directions."""
    model = build_model(setting)
    crops = tf.TensorSpec([1, *[setting.crop_size] * 2, setting.filters])
    graph = tf.function(
        lambda x: model.mask_head(x, tf.zeros([1], tf.int32))).get_concrete_function(crops).graph
    return slots * _DIRECTIONS * count_multiply_adds(graph)


def other_flops(setting: Setting, batch_size: int) -> float:
    """Return the FLOPs of backbone, pyramid, region proposals and box head, in both directions."""
    model = build_model(setting)

    def forward(images: tf.Tensor, crops: tf.Tensor) -> object:
        return model.rpn_head(model.features(images)), model.detection_head(crops)

    graph = tf.function(forward).get_concrete_function(
        tf.TensorSpec([batch_size, *[setting.image_size] * 2, 3]),
        tf.TensorSpec([batch_size, setting.num_samples, 7, 7, setting.filters])).graph
    return _DIRECTIONS * count_multiply_adds(graph)


def shapes_records(folder: Path, number: int) -> str:
    """Draw images of the built-in synthetic dataset; return the prefix of their records."""
    generate.generate_dataset(folder, num_train=number, num_val=1)
    return f"{folder}/train"


def coco_records(folder: Path) -> str:
    """Convert the small part of COCO; return the prefix of its records."""
    root = coco_tiny.root()
    convert_coco.convert_dataset(
        root / "images", root / "annotations/instances.json", folder / "all", num_processes=1)
    return f"{folder}/all"
