"""Is it the deep mask head or the ground-truth boxes that generalise to classes without masks?

Small enough to be recorded for the tests of tables, report and notebooks: masks for six classes of
outlines, and of all twelve in the oracle.
"""

from deepmac_ablate.sweep import Sweep, axis, grid, where

MASK_HEAD = axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass20.gin")
BOX_SOURCE = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")
MASKS_OF = axis("masks_of", "gin/class_splits/shapes_a.gin", "gin/class_splits/all.gin")

SWEEP = Sweep(
    "gin/experiments/shapes_small.gin", "STEPS = 60", "BATCH_SIZE = 4", "warm_up.steps = 20",
    "Evaluation.every = 30", "Evaluation.overlays = 0", "Runtime.log_every = 5",
    arms=where(
        grid(MASK_HEAD, BOX_SOURCE, MASKS_OF),
        lambda arm: arm["masks_of"] == "shapes_a" or arm["box_source"] == "groundtruth"),
    seeds=3)
