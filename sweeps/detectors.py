"""Does a deep mask head help as much without a detector as with one?

Claim (arXiv:2104.00613): it helps in both settings. Without a detector, masks are trained and
evaluated in annotated boxes only. For a shallow and a deep head, on COCO (SWEEP), or on the
built-in dataset (SHAPES), where training goes on from the weights of a detector. The effect of the
detector itself is that of features which detection trains, too.
"""

from mask_heads import SEEN, SHAPES_HEADS, TWO_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

DETECTOR = axis("detector", "gin/detectors/mask_rcnn.gin", "gin/detectors/none.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(DETECTOR, TWO_HEADS), seeds=3)

SHAPES_DETECTOR = axis("detector", "gin/detectors/mask_rcnn.gin", {
    "none": ["gin/detectors/none.gin", "Training.init_parts = ['backbone', 'decoder']"]})
SHAPES_HEAD = axis("mask_head", {name: SHAPES_HEADS[name] for name in ("default", "hourglass20")})

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", "Training.freeze = []",
    arms=grid(SHAPES_DETECTOR, SHAPES_HEAD, SEEN), seeds=8)
