"""How many classes need masks in training, and does it matter which?

Claim (ours): more classes help novel ones even where there are enough masks. With more classes come
more masks, too; the sweep does not tell them apart. VOC's 20 classes, 20 and 40 random classes, the
40 of coco40, and all 80 of COCO (SWEEP), or 3, 6 and 9 of the twelve classes of the built-in
dataset, drawn three times, and all (SHAPES), with a shallow and a deep head. Scores on novel
classes can be compared only between arms of the same split.
"""

from mask_heads import SHAPES_HEADS, TWO_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

SEEN = axis(
    "seen", "gin/class_splits/voc.gin",
    {f"random{k}_{seed}": f"Training.seen_classes = 'random-{k}-seed-{seed}'"
     for k in (20, 40) for seed in (0, 1)},
    "gin/class_splits/coco40.gin", "gin/class_splits/all.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(SEEN, TWO_HEADS), seeds=3)

SHAPES_SEEN = axis(
    "seen",
    {f"random{k}_{seed}": f"Training.seen_classes = 'random-{k}-seed-{seed}'"
     for k in (6, 3, 9) for seed in (0, 1, 2)},
    "gin/class_splits/all.gin")
SHAPES_HEAD = axis("mask_head", {name: SHAPES_HEADS[name] for name in ("default", "hourglass20")})

SHAPES = Sweep("gin/experiments/shapes_masks.gin", arms=grid(SHAPES_SEEN, SHAPES_HEAD), seeds=3)
