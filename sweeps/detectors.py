"""Does a mask head generalise better in features that detection trains, too?

Claim (arXiv:2104.00613): deep mask heads help with and without a detector. Without one, masks are
trained and evaluated in annotated boxes only. For a shallow and a deep head, on COCO (SWEEP), or on
the built-in dataset (SHAPES), where training goes on from the weights of a detector.
"""

from mask_heads import SEEN, SHAPES_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

DETECTOR = axis("detector", "gin/detectors/mask_rcnn.gin", "gin/detectors/none.gin")
MASK_HEAD = axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass52.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(DETECTOR, MASK_HEAD), seeds=3)

SHAPES_DETECTOR = axis("detector", "gin/detectors/mask_rcnn.gin", {
    "none": ["gin/detectors/none.gin", "Training.init_parts = ['backbone', 'decoder']"]})
SHAPES_HEAD = axis("mask_head", {name: SHAPES_HEADS[name] for name in ("default", "hourglass20")})

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", "Training.freeze = []",
    arms=grid(SHAPES_DETECTOR, SHAPES_HEAD, SEEN), seeds=8)
