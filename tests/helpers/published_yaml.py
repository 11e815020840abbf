"""Settings of the five published YAML files, with the experiments that they override."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deepmac_ablate.class_splits import NON_VOC, VOC

RESNET = "deep_mask_head_rcnn_resnetfpn_coco"
SPINENET = "deep_mask_head_rcnn_spinenet_coco"

_HOURGLASS = {
    "mask_head": {"class_agnostic": True, "convnet_variant": "hourglass52", "num_filters": 64},
    "mask_roi_aligner": {"crop_size": 32},
}


def _resnet(depth: int, checkpoint: str, head: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": {
            "allowed_mask_class_ids": sorted(VOC),
            "per_category_metrics": True,
            "model": {
                **head,
                "use_gt_boxes_for_masks": True,
                "backbone": {"type": "resnet", "resnet": {"model_id": depth}},
            },
            "init_checkpoint": f"gs://tf_model_garden/vision/{checkpoint}",
            "train_data": {"global_batch_size": 64},
            "validation_data": {"global_batch_size": 32},
        },
        "trainer": {
            "optimizer_config": {"learning_rate": {
                "type": "stepwise", "stepwise": {"boundaries": [50000, 65000]}}},
            "train_steps": 70000,
            "validation_steps": 156,
        },
    }


def _spinenet(seen: frozenset[int]) -> dict[str, Any]:
    return {
        "runtime": {"distribution_strategy": "tpu", "mixed_precision_dtype": "bfloat16"},
        "task": {
            "allowed_mask_class_ids": sorted(seen),
            "per_category_metrics": True,
            "init_checkpoint": None,
            "train_data": {
                "global_batch_size": 256,
                "parser": {"aug_rand_hflip": True, "aug_scale_min": 0.1, "aug_scale_max": 2.0},
            },
            "losses": {"l2_weight_decay": 0.00004},
            "model": {
                **_HOURGLASS,
                "use_gt_boxes_for_masks": True,
                "anchor": {"anchor_size": 4.0, "num_scales": 3},
                "min_level": 3,
                "max_level": 7,
                "input_size": [1280, 1280, 3],
                "backbone": {
                    "type": "spinenet",
                    "spinenet": {"stochastic_depth_drop_rate": 0.2, "model_id": "143"},
                },
                "decoder": {"type": "identity"},
                "norm_activation": {
                    "norm_epsilon": 0.001, "norm_momentum": 0.99, "use_sync_bn": True},
                "detection_generator": {"pre_nms_top_k": 1000},
            },
        },
        "trainer": {
            "train_steps": 231000,
            "optimizer_config": {
                "learning_rate": {
                    "type": "stepwise",
                    "stepwise": {
                        "boundaries": [219450, 226380], "values": [0.32, 0.032, 0.0032]},
                },
                "warmup": {
                    "type": "linear",
                    "linear": {"warmup_steps": 2000, "warmup_learning_rate": 0.0067},
                },
            },
        },
    }


# Experiment and settings, by name without "deep_mask_head_rcnn_".
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "voc_r50": (
        RESNET, _resnet(50, "resnet50_imagenet/ckpt-28080", {"mask_head": {
            "class_agnostic": True}})),
    "voc_r50_hg52": (RESNET, _resnet(50, "resnet50_imagenet/ckpt-28080", _HOURGLASS)),
    "voc_r101_hg52": (RESNET, _resnet(101, "resnet101_imagenet/ckpt-62400", _HOURGLASS)),
    "voc_spinenet143_hg52": (SPINENET, _spinenet(VOC)),
    "nonvoc_spinenet143_hg52": (SPINENET, _spinenet(NON_VOC)),
}


def write_yaml(name: str, folder: Path) -> tuple[Path, str]:
    """Write one of the files, and return its path and experiment."""
    experiment, settings = FILES[name]
    path = folder / f"deep_mask_head_rcnn_{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path, experiment
