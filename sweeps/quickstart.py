"""Is it the deep mask head or the ground-truth boxes that generalise to classes without masks?

The paper's main comparison (arXiv:2104.00613), at small size on the built-in synthetic dataset.
"""

from deepmac_ablate.sweep import Sweep, axis, grid

MASK_HEAD = axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass20.gin")
BOX_SOURCE = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")

SWEEP = Sweep(
    "gin/experiments/shapes_small.gin", "BATCH_SIZE = 4", "STEPS = 160", "warm_up.steps = 20",
    arms=grid(MASK_HEAD, BOX_SOURCE))
