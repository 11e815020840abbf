"""Which mask heads lose least if the boxes in evaluation are inexact?

Claim (arXiv:2104.00613): training in ground-truth boxes is better although detected boxes are
inexact. Every arm is evaluated in ground-truth boxes with more and more jitter as well, on COCO
(SWEEP) or the built-in dataset (SHAPES). Finished trials need no new training for this:
`deepmac-ablate evaluate --box-noise`.
"""

from mask_heads import SEEN, SHAPES_HEADS, TWO_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

BOXES = (
    "Evaluation.box_sources = ('detections', 'groundtruth', 'jittered0.1', 'jittered0.2', "
    "'jittered0.4')")
BOX_SOURCE = axis(
    "box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin",
    "gin/box_sources/jittered.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", BOXES, arms=grid(TWO_HEADS, BOX_SOURCE),
    seeds=3)

SHAPES_HEAD = axis("mask_head", {name: SHAPES_HEADS[name] for name in ("default", "hourglass20")})

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", BOXES, arms=grid(SHAPES_HEAD, BOX_SOURCE, SEEN), seeds=5)
