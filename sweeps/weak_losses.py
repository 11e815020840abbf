"""Does a deep mask head still matter if the boxes of novel classes train it, too?

Weak losses (BoxInst, arXiv:2012.02310) with a shallow and a deep head, on the built-in synthetic
dataset: masks for six of twelve classes, boxes for all. Only the mask head is trained, in the
features of a frozen detector.
"""

from deepmac_ablate.sweep import Sweep, axis, grid

MASK_HEAD = axis(
    "mask_head", default="gin/mask_heads/default_crop16.gin",
    hourglass20="gin/mask_heads/hourglass20_crop16.gin")
WEAK_LOSSES = axis("weak_losses", *[
    f"gin/weak_losses/{name}.gin" for name in ("none", "projection", "projection_and_colour")])

SWEEP = Sweep("gin/experiments/shapes_masks.gin", arms=grid(MASK_HEAD, WEAK_LOSSES), seeds=3)
