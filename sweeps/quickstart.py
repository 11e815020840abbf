"""Is it the deep mask head or the ground-truth boxes that generalise to classes without masks?

Claim (arXiv:2104.00613): both, and the deep head needs the boxes. The paper's main comparison, at
small size on the built-in synthetic dataset. Only the mask head is trained, in the features of a
frozen detector of all classes. The design (docs/accuracy.md) was chosen before the arms were
compared.
"""

from deepmac_ablate.sweep import Sweep, axis, grid

MASK_HEAD = axis(
    "mask_head", default="gin/mask_heads/default_crop16.gin",
    hourglass20="gin/mask_heads/hourglass20_crop16.gin")
BOX_SOURCE = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")

SWEEP = Sweep("gin/experiments/shapes_masks.gin", arms=grid(MASK_HEAD, BOX_SOURCE), seeds=3)
