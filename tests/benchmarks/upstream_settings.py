"""Settings of upstream's task for benchmarks: the model of `gin/experiments/shapes_small.gin`."""

from __future__ import annotations

from typing import Any

SEEN = (1, 3, 5, 7, 9, 11)
ANCHOR_SIZE = 4.0


def task_config(head: str) -> dict[str, Any]:
    """Return the settings of upstream's task that make its model and losses ours."""
    deep = head != "default"
    return {
        "allowed_mask_class_ids": list(SEEN),
        "losses": {"l2_weight_decay": 4e-5},
        "model": {
            "num_classes": 13, "input_size": [128, 128, 3], "min_level": 2, "max_level": 5,
            "anchor": {"anchor_size": ANCHOR_SIZE},
            "backbone": {"resnet": {"model_id": 18}},
            "decoder": {"fpn": {"num_filters": 64}},
            "rpn_head": {"num_filters": 64},
            "detection_head": {"num_convs": 0, "num_fcs": 2, "fc_dims": 256},
            "roi_generator": {"pre_nms_top_k": 200, "num_proposals": 100},
            "roi_sampler": {"num_sampled_rois": 64},
            "mask_roi_aligner": {"crop_size": 32 if deep else 14},
            "mask_head": {"convnet_variant": head, "num_filters": 16 if deep else 64,
                          "class_agnostic": True},
            "use_gt_boxes_for_masks": True,
            "norm_activation": {"norm_momentum": 0.997, "norm_epsilon": 1e-4},
        },
    }
