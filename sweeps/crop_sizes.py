"""How fine must the crop and the mask of a mask head be?

Claim (ours): finer crops and masks raise boundary IoU, but seen and novel classes gain alike. Crops
of more and more cells, and masks of the crop's resolution or twice as fine, for Hourglass-20, whose
crop may be any multiple of 4: on COCO (SWEEP) or the built-in dataset (SHAPES). The published
hourglasses have crops of 32 and masks of 64 x 64 (arXiv:2104.00613).
"""

from mask_heads import SEEN, SHAPES_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid, values

UPSAMPLING = axis(
    "mask_upsampling", "gin/mask_upsampling/deconvolution.gin", "gin/mask_upsampling/none.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50_hg52.gin", "gin/mask_heads/hourglass20.gin",
    arms=grid(values("HourglassMaskHead.crop_size", 32, 16, 64), UPSAMPLING), seeds=3)

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", *SHAPES_HEADS["hourglass20"][::2],
    arms=grid(values("HourglassMaskHead.crop_size", 16, 8, 32), UPSAMPLING, SEEN), seeds=5)
