"""Does the deep mask head generalise as well from the other half of the classes?

The counterpart of recorded_a.py: masks for the six classes that are novel there.
"""

from deepmac_ablate.sweep import Sweep, axis

MASK_HEAD = axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass20.gin")

SWEEP = Sweep(
    "gin/experiments/shapes_small.gin", "gin/class_splits/shapes_b.gin", "STEPS = 60",
    "BATCH_SIZE = 4", "warm_up.steps = 20", "Evaluation.every = 30", "Evaluation.overlays = 0",
    "Runtime.log_every = 5",
    arms=MASK_HEAD, seeds=3)
