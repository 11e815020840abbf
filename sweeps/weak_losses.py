"""Does a deep mask head still matter if the boxes of novel classes train it, too?

Weak losses (BoxInst, arXiv:2012.02310) with a shallow and a deep head, for the classes without
masks: on COCO (SWEEP), on the built-in dataset with only the mask head trained in the features of a
frozen detector (SHAPES), and at reduced size on any COCO records (COCO_SMALL).
"""

from mask_heads import SEEN

from deepmac_ablate.sweep import Sweep, axis, grid

WEAK_LOSSES = axis("weak_losses", *[
    f"gin/weak_losses/{name}.gin" for name in ("none", "projection", "projection_and_colour")])
MASK_HEAD = axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass52.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(MASK_HEAD, WEAK_LOSSES), seeds=3)

SHAPES_HEAD = axis(
    "mask_head", default="gin/mask_heads/default_crop16.gin",
    hourglass20="gin/mask_heads/hourglass20_crop16.gin")

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", arms=grid(SHAPES_HEAD, WEAK_LOSSES, SEEN), seeds=5)

COCO_SMALL = Sweep("gin/experiments/coco_small.gin", arms=WEAK_LOSSES, seeds=2)
