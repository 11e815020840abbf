"""Why does an hourglass generalise: its depth, its down- and upsampling, or its shortcuts?

Claim (ours): down- and upsampling matter more than the shortcuts beside them. SWEEP takes
Hourglass-20 apart on COCO; SHAPES does so on the built-in dataset, with other normalization and
upsampling besides. With down-sampling, shortcuts are the only path at full resolution, so each
part is left out with and without the other; a residual head of equal depth is for comparison.
"""

from mask_heads import MATCHED, SEEN, SHAPES_HEADS, shapes_head

from deepmac_ablate.sweep import Sweep, axis, grid, one_at_a_time

NO_SHORTCUT = "HourglassMaskHead.shortcuts = False"
MASK_HEAD = axis(
    "mask_head", "gin/mask_heads/hourglass20.gin", "gin/mask_heads/hourglass20_no_shortcut.gin",
    "gin/mask_heads/hourglass20_uniform_size.gin",
    {"hourglass20_neither": ["gin/mask_heads/hourglass20_uniform_size.gin", NO_SHORTCUT]},
    "gin/mask_heads/resnet20.gin", MATCHED)
MASK_NORM = axis("mask_norm", "gin/mask_norms/batch.gin", "gin/mask_norms/group.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50_hg52.gin",
    arms=one_at_a_time(MASK_HEAD, MASK_NORM), seeds=3)

SHAPES_PARTS = {
    name: shapes_head("HourglassMaskHead", name, 32)
    for name in ("hourglass20", "hourglass20_no_shortcut", "hourglass20_uniform_size")}
SHAPES_HEAD = axis("mask_head", {
    **SHAPES_PARTS,
    "hourglass20_neither": [*SHAPES_PARTS["hourglass20_uniform_size"], NO_SHORTCUT],
    "resnet20": SHAPES_HEADS["resnet20"],
})
UPSAMPLING = axis(
    "mask_upsampling", "gin/mask_upsampling/deconvolution.gin", "gin/mask_upsampling/bilinear.gin")

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin",
    arms=grid(one_at_a_time(SHAPES_HEAD, MASK_NORM, UPSAMPLING), SEEN), seeds=5)
