"""Upstream's model beside ours: the same configuration, the same weights, the same regions.

"Upstream" is `official.projects.deepmac_maskrcnn`, the published code of arXiv:2104.00613.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

import tensorflow as tf
import tf_keras
from official.projects.deepmac_maskrcnn.configs import deep_mask_head_rcnn as configs
from official.projects.deepmac_maskrcnn.modeling.heads import hourglass_network
from official.projects.deepmac_maskrcnn.tasks import deep_mask_head_rcnn

from deepmac_ablate.modeling import box_sources, hourglass, mask_heads
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Backbone, ResNetFPN, SpineNet
from deepmac_ablate.modeling.detectors import Regions
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.modeling.normalization import BatchNorm
from tests.helpers import tiny_model

NORM_MOMENTUM, NORM_EPSILON = 0.9, 1e-4


class Case(NamedTuple):
    """The configuration of both models in a test."""

    head: str
    mask_boxes: str
    class_agnostic: bool = True
    backbone: str = "resnet10"

    def __str__(self) -> str:
        kind = "agnostic" if self.class_agnostic else "specific"
        return f"{self.backbone}-{self.head}-{self.mask_boxes}-{kind}"

    @property
    def image_size(self) -> tuple[int, int]:
        """Small images for the backbone.

        With 128 pixels SpineNet's level 7 would have one value per image and channel: normalising
        two values leaves their signs, and of the gradient only rounding.
        """
        return (256, 256) if self.backbone == "spinenet49" else tiny_model.IMAGE_SIZE

    @property
    def gradient_tolerance(self) -> float:
        """The tolerance for each tensor's gradient, as a share of its size.

        What enters the backbone differs by rounding. Through SpineNet's normalisations of few
        values that grows; changing one image in its last digit changes gradients by a tenth.
        """
        return 5e-5 if self.backbone == "spinenet49" else 1e-5

    @property
    def anchors(self) -> Anchors:
        """Anchors for the levels of the backbone, which SpineNet's published ones are."""
        if self.backbone == "spinenet49":
            return Anchors(min_level=3, max_level=7, num_scales=3, size=4.0, samples_per_image=64)
        return tiny_model.ANCHORS

    def batch(self, seed: int = 0) -> tiny_model.Batch:
        """Draw a batch, always the same for a seed."""
        return tiny_model.batch(image_size=self.image_size, anchors=self.anchors, seed=seed)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two models with the same weights.

    Attributes:
        case: Their common configuration.
        task: Upstream's task, which computes its losses.
        upstream: Upstream's model.
        ours: Our model.
        variables: All pairs of corresponding variables, upstream's first.
    """

    case: Case
    task: deep_mask_head_rcnn.DeepMaskHeadRCNNTask
    upstream: tf_keras.Model
    ours: MaskRCNN
    variables: list[tuple[tf.Variable, tf.Variable]]

    def copy_weights(self) -> None:
        """Give our model upstream's weights."""
        for theirs, ours in self.variables:
            ours.assign(theirs)


def build(case: Case, width: int = 8) -> Pair:
    """Build both models and give them the same random weights."""
    task = deep_mask_head_rcnn.DeepMaskHeadRCNNTask(_upstream_config(case, width))
    upstream = task.build_model()
    ours = tiny_model.build_model(
        image_size=case.image_size,
        anchors=case.anchors,
        backbone=_our_backbone(case),
        mask_head=_our_head(case, width),
        mask_boxes={"ground_truth": box_sources.GroundTruthBoxes,
                    "proposals": box_sources.ProposalBoxes}[case.mask_boxes](),
        pad_to_all_slots=True,
        norm=tiny_model.Norm(momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON),
    )
    ours.create_variables()
    pair = Pair(case, task, upstream, ours, _paired_variables(upstream, ours))
    tiny_model.randomise([theirs for theirs, _ in pair.variables], seed=1)
    pair.copy_weights()
    return pair


def upstream_step(pair: Pair, data: tiny_model.Batch, drawn: Regions) -> tiny_model.Step:
    """Run a training step of upstream's on given regions."""
    labels = data.labels
    with tf.GradientTape() as tape, _given_regions(pair.upstream, drawn):
        outputs = pair.upstream(
            data.images, image_shape=data.image_shape, gt_boxes=labels["gt_boxes"],
            gt_classes=labels["gt_classes"], gt_masks=labels["gt_masks"], training=True)
        losses = pair.task.build_losses(outputs, labels, aux_losses=pair.upstream.losses)
    variables = [theirs for theirs, _ in pair.variables if theirs.trainable]
    return tiny_model.Step(outputs, losses, tape.gradient(losses["total_loss"], variables))


def our_step(pair: Pair, data: tiny_model.Batch, drawn: Regions) -> tiny_model.Step:
    """Run a training step of ours on given regions, gradients in upstream's order."""
    with mock.patch.object(pair.ours.detector, "region_sampler", tiny_model.FixedRegions(drawn)):
        result = tiny_model.step(pair.ours, data)
    of = {id(v): g for v, g in zip(pair.ours.trainable_variables, result.gradients, strict=True)}
    return result._replace(
        gradients=[of[id(ours)] for _, ours in pair.variables if ours.trainable])


@contextlib.contextmanager
def _given_regions(model: tf_keras.Model, drawn: Regions) -> Iterator[None]:
    """Make the sampler of upstream's model return given regions."""
    given = drawn.boxes, drawn.gt_boxes, drawn.gt_classes, drawn.gt_index
    with mock.patch.object(type(model.roi_sampler[0]), "__call__", return_value=given):
        yield


def _upstream_config(case: Case, width: int) -> configs.DeepMaskHeadRCNNTask:
    anchors = case.anchors
    convs = case.head in ("default", "separable")
    crop_size = 14 if convs else 32
    norm = {"use_sync_bn": True, "norm_momentum": NORM_MOMENTUM, "norm_epsilon": NORM_EPSILON}
    config = configs.DeepMaskHeadRCNNTask()
    config.override({
        "allowed_mask_class_ids": list(tiny_model.SEEN_CLASSES),
        "losses": {"l2_weight_decay": 4e-5},
        "model": {
            "num_classes": tiny_model.NUM_CLASSES,
            "input_size": [*case.image_size, 3],
            "min_level": anchors.min_level,
            "max_level": anchors.max_level,
            "anchor": {"anchor_size": anchors.size, "num_scales": anchors.num_scales},
            **_upstream_backbone(case),
            "rpn_head": {"num_filters": 16},
            "detection_head": {"num_convs": 1, "num_filters": 16, "fc_dims": 32},
            "roi_generator": {"pre_nms_top_k": 50, "num_proposals": 50,
                              "test_pre_nms_top_k": 50, "test_num_proposals": 20},
            "mask_sampler": {"num_sampled_masks": 16},
            "mask_roi_aligner": {"crop_size": crop_size},
            "mask_head": {"convnet_variant": "default" if convs else case.head,
                          "use_separable_conv": case.head == "separable",
                          "num_filters": width, "class_agnostic": case.class_agnostic},
            "detection_generator": {"pre_nms_top_k": 20, "max_num_detections": 6},
            "use_gt_boxes_for_masks": case.mask_boxes == "ground_truth",
            "norm_activation": norm,
        },
    })
    return config


def _upstream_backbone(case: Case) -> dict[str, dict[str, object]]:
    if case.backbone == "spinenet49":
        levels = {"min_level": case.anchors.min_level, "max_level": case.anchors.max_level}
        return {
            "backbone": {"type": "spinenet", "spinenet": {"model_id": "49", **levels}},
            "decoder": {"type": "identity"},
        }
    return {
        "backbone": {"resnet": {"model_id": 10, "depth_multiplier": 0.125}},
        "decoder": {"fpn": {"num_filters": 16}},
    }


def _our_backbone(case: Case) -> Backbone:
    if case.backbone == "spinenet49":
        return SpineNet("49")
    return ResNetFPN(10, fpn_filters=16, width_multiplier=0.125)


def _our_head(case: Case, width: int) -> mask_heads.MaskHead:
    norm = BatchNorm(NORM_MOMENTUM, NORM_EPSILON, synchronized=False)
    common = {"width": width, "class_agnostic": case.class_agnostic}
    if case.head == "default":
        return mask_heads.ConvMaskHead(norm=norm, **common)
    if case.head == "separable":
        return mask_heads.SeparableConvMaskHead(norm=norm, **common)
    return mask_heads.HourglassMaskHead(
        depth=int(case.head.removeprefix("hourglass")), norm=BatchNorm(0.1, 1e-5), tail_norm=norm,
        weight_decay=False, **common)


def _paired_variables(
    upstream: tf_keras.Model, ours: MaskRCNN
) -> list[tuple[tf.Variable, tf.Variable]]:
    """Pairs all variables; one that is left over on either side is an error."""
    pairs = [
        pair
        for theirs_layer, our_layer in _paired_layers(upstream, ours)
        for pair in zip(theirs_layer.variables, our_layer.variables, strict=True)
    ]
    for theirs, our in pairs:
        assert theirs.shape == our.shape, (theirs.name, our.name)
        assert theirs.trainable == our.trainable, (theirs.name, our.name)
    for model, side in ((upstream, 0), (ours, 1)):
        paired = [id(pair[side]) for pair in pairs]
        assert len(paired) == len(set(paired))
        left_over = [v.name for v in model.variables if id(v) not in set(paired)]
        assert not left_over, left_over
        assert len(paired) == len(model.variables)
    return pairs


Layers = Iterator[tuple[tf_keras.layers.Layer, tf_keras.layers.Layer]]


def _paired_layers(upstream: tf_keras.Model, ours: MaskRCNN) -> Layers:
    # The same classes on both sides: their variables come in the same order.
    yield upstream.backbone, ours.backbone
    if upstream.decoder is not None:
        yield upstream.decoder, ours.decoder
    yield upstream.rpn_head, ours.rpn_head
    yield upstream.detection_head[0], ours.detection_head
    theirs, head = upstream.mask_head, ours.mask_head
    yield theirs._deconv, head.upsampling
    yield theirs._deconv_bn, head.upsampling_norm.norm
    yield theirs._mask_regressor, head.logits
    if isinstance(head, mask_heads.ConvMaskHead):
        yield from zip(theirs._convs, head.convs, strict=True)
        yield from zip(theirs._conv_norms, (norm.norm for norm in head.norms), strict=True)
    else:
        yield from paired_hourglass(theirs._hourglass, head.hourglass)


def paired_hourglass(
    theirs: hourglass_network.HourglassNetwork, ours: hourglass.Hourglass
) -> Layers:
    """Pairs the convolutions and normalisations of two hourglasses."""
    yield from _paired_conv(theirs.conv_input.conv_block, ours.stem)
    yield from _paired_block(theirs.conv_input.residual_block, ours.widen)
    yield from _paired_stage(theirs.hourglass_network[0], ours.stage)
    yield from _paired_conv(theirs.output_conv[0], ours.output_conv)


def _paired_stage(
    theirs: hourglass_network.EncoderDecoderBlock, ours: hourglass.Stage
) -> Layers:
    shortcut = [] if ours.shortcut is None else [(theirs.encoder_block1, ours.shortcut)]
    for their_blocks, our_blocks in (
        *shortcut,
        (theirs.encoder_block2, ours.down),
        (theirs.inner_block, ours.inner),
        (theirs.decoder_block, ours.up),
    ):
        for their_block, our_block in zip(their_blocks, our_blocks, strict=True):
            pair = _paired_stage if isinstance(our_block, hourglass.Stage) else _paired_block
            yield from pair(their_block, our_block)


def _paired_block(
    theirs: hourglass_network.ResidualBlock, ours: hourglass.ResidualBlock
) -> Layers:
    yield from _paired_conv(theirs.conv_block, ours.first)
    yield theirs.conv, ours.second.conv
    yield theirs.norm, ours.second.norm.norm
    if ours.skip is not None:
        yield from _paired_conv(theirs.skip, ours.skip)


def _paired_conv(
    theirs: hourglass_network.ConvolutionalBlock, ours: hourglass.ConvNorm
) -> Layers:
    yield theirs.conv, ours.conv
    yield theirs.norm, ours.norm.norm
