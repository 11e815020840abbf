"""How accurate must the boxes be in which a mask head is trained?

From ground-truth boxes through increasing noise to proposals, for a shallow and a deep head.
"""

from deepmac_ablate.sweep import Sweep, axis, grid

JITTERED = "gin/box_sources/jittered.gin"
BOX_SOURCE = axis(
    "box_source", "gin/box_sources/groundtruth.gin",
    {f"jittered{ratio}": [JITTERED, f"JitteredGroundTruthBoxes.ratio = {ratio}"]
     for ratio in (0.05, 0.1, 0.2, 0.4)},
    "gin/box_sources/proposals_without_groundtruth.gin", "gin/box_sources/proposals.gin")
MASK_HEAD = axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass52.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(MASK_HEAD, BOX_SOURCE), seeds=3)
