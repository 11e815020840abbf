"""Does a deep mask head still matter if the boxes of novel classes train it, too?

Claim (ours): weak losses help a shallow head more than a deep one. BoxInst's (arXiv:2012.02310),
for the classes without masks: on COCO (SWEEP), on the built-in dataset with only the mask head
trained in the features of a frozen detector (SHAPES), and at reduced size on any COCO records
(COCO_SMALL). Boxes without masks enter the head's batch normalisation, too; the arm `boxes_only`
has them there, without a loss.
"""

from mask_heads import SEEN, TWO_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

FILES = [
    f"gin/weak_losses/{name}.gin" for name in ("none", "projection", "projection_and_colour")]
WEAK_LOSSES = axis("weak_losses", *FILES)
WITH_CONTROL = axis("weak_losses", *FILES, {
    "boxes_only": ["gin/weak_losses/projection.gin", "ProjectionLoss.weight = 0.0"]})

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(TWO_HEADS, WITH_CONTROL), seeds=3)

SHAPES_HEAD = axis(
    "mask_head", default="gin/mask_heads/default_crop16.gin",
    hourglass20="gin/mask_heads/hourglass20_crop16.gin")

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", arms=grid(SHAPES_HEAD, WITH_CONTROL, SEEN), seeds=5)

COCO_SMALL = Sweep("gin/experiments/coco_small.gin", arms=WEAK_LOSSES, seeds=2)
