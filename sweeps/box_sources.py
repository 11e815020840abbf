"""How accurate must the boxes be in which a mask head is trained?

Claim (ours): proposals are worse for novel classes than ground-truth boxes (arXiv:2104.00613)
because they are inexact. From ground-truth boxes through increasing jitter, in which boxes move,
only grow or only shrink, to proposals; for a shallow and a deep head, on COCO (SWEEP) or the
built-in dataset (SHAPES).
"""

from mask_heads import SEEN, SHAPES_HEADS, TWO_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

JITTERED = "gin/box_sources/jittered.gin"
BOX_SOURCE = axis(
    "box_source", "gin/box_sources/groundtruth.gin",
    {f"jittered{ratio}": [JITTERED, f"JitteredGroundTruthBoxes.ratio = {ratio}"]
     for ratio in (0.05, 0.1, 0.2, 0.4)},
    {f"{mode}0.2": [JITTERED, "JitteredGroundTruthBoxes.ratio = 0.2",
                    f"JitteredGroundTruthBoxes.mode = '{mode}'"]
     for mode in ("expand", "shrink")},
    "gin/box_sources/proposals_without_groundtruth.gin", "gin/box_sources/proposals.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(TWO_HEADS, BOX_SOURCE), seeds=3)

SHAPES_HEAD = axis("mask_head", {name: SHAPES_HEADS[name] for name in ("default", "hourglass20")})

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", arms=grid(SHAPES_HEAD, BOX_SOURCE, SEEN), seeds=5)
