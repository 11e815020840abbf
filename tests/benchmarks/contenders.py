"""The model of the paper's published code and ours, configured alike, for benchmarks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
import tf_keras
from official.projects.deepmac_maskrcnn.configs import deep_mask_head_rcnn as configs
from official.projects.deepmac_maskrcnn.modeling import maskrcnn_model
from official.projects.deepmac_maskrcnn.tasks import deep_mask_head_rcnn
from official.vision.dataloaders import maskrcnn_input, tf_example_decoder

from deepmac_ablate.data import convert_coco
from deepmac_ablate.data.shapes import generate
from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.modeling import box_sources, detector, mask_heads
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Backbone, Norm, ResNetFPN
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.modeling.normalization import BatchNorm
from deepmac_ablate.modeling.optimization import SGD
from deepmac_ablate.sweep.validation.multiply_adds import count_multiply_adds
from tests.helpers import coco_tiny

SEEN_SHAPES = (1, 3, 5, 7, 9, 11)
# The ids in COCO of the classes of PASCAL VOC.
VOC = (1, 2, 3, 4, 5, 6, 7, 9, 16, 17, 18, 19, 20, 21, 44, 62, 63, 64, 67, 72)
Step = Callable[[tf.Tensor, dict], tf.Tensor]
MaskStep = Callable[[dict[str, tf.Tensor], dict], tf.Tensor]
# FLOPs per multiply-add of a forward pass: two, and the two backward passes.
_DIRECTIONS = 2 * 3


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings that both models have in common; by default the published ResNet-50 at 512 px.

    Attributes:
        seen: Classes whose masks are trained on.
        slots_per_image: Slots of our mask head; upstream's runs on 100. 16 drop less than 1 % of
            the masks of VOC classes in batches of two.
    """

    head: str = "hourglass52"
    head_width: int = 64
    depth: int = 50
    image_size: int = 512
    num_classes: int = 91
    seen: tuple[int, ...] = VOC
    slots_per_image: int = 16
    max_level: int = 6
    anchor_size: float = 8.0
    filters: int = 256
    box_convs: int = 4
    box_fcs: int = 1
    fc_dims: int = 1024
    pre_nms_top_k: int = 2000
    num_proposals: int = 1000
    num_samples: int = 512

    @property
    def anchors(self) -> Anchors:
        """Anchors of the region proposals."""
        return Anchors(min_level=2, max_level=self.max_level, size=self.anchor_size)

    @property
    def crop_size(self) -> int:
        """Side of the crops of the mask head."""
        return 14 if self.head == "default" else 32


# ResNet-18 on the built-in synthetic dataset, as small as a laptop likes.
SHAPES = Setting(
    depth=18, image_size=128, num_classes=13, seen=SEEN_SHAPES, slots_per_image=4, max_level=5,
    anchor_size=4.0, filters=64, box_convs=0, box_fcs=2, fc_dims=256, pre_nms_top_k=200,
    num_proposals=100, num_samples=64)


def our_model(setting: Setting, backbone: Backbone | None = None) -> MaskRCNN:
    """Build our model with all its variables."""
    if setting.head == "default":
        head = mask_heads.ConvMaskHead(width=setting.head_width)
    else:
        head = mask_heads.HourglassMaskHead(
            depth=int(setting.head.removeprefix("hourglass")), width=setting.head_width,
            norm=BatchNorm(0.1, 1e-5), tail_norm=BatchNorm(0.997, 1e-4), weight_decay=False)
    model = MaskRCNN(
        num_classes=setting.num_classes, image_size=(setting.image_size,) * 2,
        backbone=backbone or ResNetFPN(setting.depth, fpn_filters=setting.filters),
        mask_head=head, anchors=setting.anchors,
        mask_boxes=box_sources.GroundTruthBoxes(slots_per_image=setting.slots_per_image),
        region_proposals=detector.RegionProposals(
            num_filters=setting.filters, pre_nms_top_k=setting.pre_nms_top_k,
            num_proposals=setting.num_proposals),
        region_sampler=detector.RegionSampler(num_samples=setting.num_samples),
        box_head=detector.BoxHead(
            num_convs=setting.box_convs, num_filters=setting.filters, num_fcs=setting.box_fcs,
            fc_dims=setting.fc_dims),
        detections=detector.Detections(max_per_image=20), norm=Norm())
    model.create_variables()
    return model


def our_step(setting: Setting, backbone: Backbone | None = None, trim: bool = True) -> Step:
    """Return the training step of our model; `trim` as in training without XLA."""
    model = our_model(setting, backbone)
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


def upstream_task(setting: Setting) -> deep_mask_head_rcnn.DeepMaskHeadRCNNTask:
    """Configure upstream's task."""
    config = configs.DeepMaskHeadRCNNTask()
    config.override({
        "allowed_mask_class_ids": list(setting.seen),
        "losses": {"l2_weight_decay": 4e-5},
        "model": {
            "num_classes": setting.num_classes, "input_size": [setting.image_size] * 2 + [3],
            "min_level": 2, "max_level": setting.max_level,
            "anchor": {"anchor_size": setting.anchor_size},
            "backbone": {"resnet": {"model_id": setting.depth}},
            "decoder": {"fpn": {"num_filters": setting.filters}},
            "rpn_head": {"num_filters": setting.filters},
            "detection_head": {"num_convs": setting.box_convs, "num_fcs": setting.box_fcs,
                               "num_filters": setting.filters, "fc_dims": setting.fc_dims},
            "roi_generator": {"pre_nms_top_k": setting.pre_nms_top_k,
                              "num_proposals": setting.num_proposals},
            "roi_sampler": {"num_sampled_rois": setting.num_samples},
            "mask_roi_aligner": {"crop_size": setting.crop_size},
            "mask_head": {"convnet_variant": setting.head, "num_filters": setting.head_width,
                          "class_agnostic": True},
            "use_gt_boxes_for_masks": True,
            "norm_activation": {"norm_momentum": 0.997, "norm_epsilon": 1e-4,
                                "use_sync_bn": True},
        },
    })
    return deep_mask_head_rcnn.DeepMaskHeadRCNNTask(config)


def upstream_step(setting: Setting) -> Step:
    """Return the training step of upstream's model."""
    task = upstream_task(setting)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(1e-4, momentum=0.9, jit_compile=False)

    @tf.function
    def step(images: tf.Tensor, labels: dict) -> tf.Tensor:
        return task.train_step((images, labels), model, optimizer)["loss"]

    return step


def our_mask_step(setting: Setting) -> MaskStep:
    """Return crops, mask head and mask loss of ours, forwards and backwards."""
    model, losses = our_model(setting), Losses()
    model.trim_slots = True
    variables = model.mask_head.trainable_variables

    @tf.function
    def step(features: dict[str, tf.Tensor], labels: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = model.train_masks(features, None, labels, tf.constant([0, 0]))
            loss = losses.mask_loss(outputs)
        gradients = tape.gradient(loss, [variables, features])
        return loss + _touch(gradients)

    return step


def upstream_mask_step(setting: Setting) -> MaskStep:
    """Return crops, mask head and mask loss of upstream's, forwards and backwards."""
    task = upstream_task(setting)
    model = task.build_model()
    variables = model.mask_head.trainable_variables

    @tf.function
    def step(features: dict[str, tf.Tensor], labels: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(features)
            crops = model.mask_roi_aligner(features, labels["gt_boxes"])
            logits = model.mask_head([crops, labels["gt_classes"]], training=True)
            loss = task._build_mask_loss({
                "mask_outputs": logits, "mask_class_targets": labels["gt_classes"],
                "mask_targets": maskrcnn_model.resize_as(
                    labels["gt_masks"], 2 * setting.crop_size)})
        gradients = tape.gradient(loss, [variables, features])
        return loss + _touch(gradients)

    return step


def _touch(gradients: list) -> tf.Tensor:
    """Return nearly zero in a way that needs all gradients; a product with zero is pruned."""
    return 1e-30 * tf.add_n([
        tf.reshape(tf.convert_to_tensor(g), [-1])[0] for g in tf.nest.flatten(gradients)])


def our_input(setting: Setting, prefix: str, batch_size: int) -> tf.data.Dataset:
    """Return our input of training."""
    return TrainingData(prefix, batch_size).dataset(
        (setting.image_size,) * 2, setting.anchors, frozenset(setting.seen), seed=0)


def upstream_input(setting: Setting, prefix: str, batch_size: int) -> tf.data.Dataset:
    """Return upstream's input of training, with the same augmentation, from the same records."""
    parser = maskrcnn_input.Parser(
        [setting.image_size] * 2, 2, setting.max_level, 1, [0.5, 1.0, 2.0], setting.anchor_size,
        aug_rand_hflip=True, aug_scale_min=0.8, aug_scale_max=1.25, include_mask=True,
        mask_crop_size=112, dtype="float32")
    decoder = tf_example_decoder.TfExampleDecoder(include_mask=True)
    files = tf.io.gfile.glob(f"{prefix}-*.tfrecord")
    records = tf.data.TFRecordDataset(files).shuffle(128).repeat()
    examples = records.map(
        lambda record: parser._parse_train_data(decoder.decode(record)),
        num_parallel_calls=tf.data.AUTOTUNE)
    return examples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def batches(
    setting: Setting, prefix: str, batch_size: int, number: int
) -> list[tuple[tf.Tensor, dict]]:
    """Return the first training batches, with the anchors that upstream takes from the labels."""
    anchors = {
        level: tf.repeat(boxes[tf.newaxis], batch_size, axis=0)
        for level, boxes in setting.anchors.boxes((setting.image_size,) * 2).items()}
    return [(images, {**labels, "anchor_boxes": anchors})
            for images, labels in our_input(setting, prefix, batch_size).take(number)]


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
    model = our_model(setting)
    crops = tf.TensorSpec([1, *[setting.crop_size] * 2, setting.filters])
    graph = tf.function(
        lambda x: model.mask_head(x, tf.zeros([1], tf.int32))).get_concrete_function(crops).graph
    return slots * _DIRECTIONS * count_multiply_adds(graph)


def other_flops(setting: Setting, batch_size: int) -> float:
    """Return the FLOPs of backbone, pyramid, region proposals and box head, in both directions."""
    model = our_model(setting)

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
