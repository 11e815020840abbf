"""Settings that upstream's model and ours have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

# The ids in COCO of the classes of PASCAL VOC.
VOC = (1, 2, 3, 4, 5, 6, 7, 9, 16, 17, 18, 19, 20, 21, 44, 62, 63, 64, 67, 72)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes of a model; by default the published ResNet-50 with Hourglass-52 at 512 px.

    Attributes:
        width_multiplier: Width of the backbone relative to the published one.
        seen: Classes whose masks are trained on.
        groundtruth: Boxes of the mask head in training: ground truth, or proposals.
        slots_per_image: Slots of our mask head; upstream's runs on 100. 16 drop less than 1 % of
            the masks of VOC classes in batches of two.
    """

    head: str = "hourglass52"
    head_width: int = 64
    crop_size: int = 32
    depth: int = 50
    width_multiplier: float = 1.0
    image_size: int = 512
    num_classes: int = 91
    seen: tuple[int, ...] = VOC
    groundtruth: bool = True
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


def shapes_small(head: str) -> Setting:
    """Return the model of `gin/experiments/shapes_small.gin`, with one of the mask heads."""
    default = head == "default"
    return Setting(
        head=head, head_width=64 if default else 16, crop_size=14 if default else 32, depth=18,
        image_size=128, num_classes=13, seen=(1, 3, 5, 7, 9, 11), slots_per_image=4, max_level=5,
        anchor_size=4.0, filters=64, box_convs=0, box_fcs=2, fc_dims=256, pre_nms_top_k=200,
        num_proposals=100, num_samples=64)


def shapes_masks(head: str, groundtruth: bool) -> Setting:
    """Return the model of an arm of `sweeps/quickstart.py` (`gin/experiments/shapes_masks.gin`)."""
    return dataclasses.replace(
        shapes_small(head), head_width=32 if head == "default" else 16, crop_size=16, depth=10,
        width_multiplier=0.5, groundtruth=groundtruth, fc_dims=128, num_samples=32)


def upstream_config(setting: Setting) -> dict[str, Any]:
    """Return the settings of upstream's task that make its model and losses ours."""
    return {
        "allowed_mask_class_ids": list(setting.seen),
        "losses": {"l2_weight_decay": 4e-5},
        "model": {
            "num_classes": setting.num_classes, "input_size": [setting.image_size] * 2 + [3],
            "min_level": 2, "max_level": setting.max_level,
            "anchor": {"anchor_size": setting.anchor_size},
            # Upstream calls the width depth.
            "backbone": {"resnet": {"model_id": setting.depth,
                                    "depth_multiplier": setting.width_multiplier}},
            "decoder": {"fpn": {"num_filters": setting.filters}},
            "rpn_head": {"num_filters": setting.filters},
            "detection_head": {"num_convs": setting.box_convs, "num_fcs": setting.box_fcs,
                               "num_filters": setting.filters, "fc_dims": setting.fc_dims},
            "roi_generator": {"pre_nms_top_k": setting.pre_nms_top_k,
                              "num_proposals": setting.num_proposals},
            "roi_sampler": {"num_sampled_rois": setting.num_samples},
            # A quarter of the regions may have an object: 128 of 512 by default.
            "mask_sampler": {"num_sampled_masks": setting.num_samples // 4},
            "mask_roi_aligner": {"crop_size": setting.crop_size},
            "mask_head": {"convnet_variant": setting.head, "num_filters": setting.head_width,
                          "class_agnostic": True},
            "use_gt_boxes_for_masks": setting.groundtruth,
            "norm_activation": {"norm_momentum": 0.997, "norm_epsilon": 1e-4,
                                "use_sync_bn": True},
        },
    }
