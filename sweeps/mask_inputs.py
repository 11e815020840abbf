"""Do coordinates and an instance embedding help a mask head?

Claim (ours): neither is needed, as the published Mask R-CNN does without them. The CenterNet of the
same paper (arXiv:2104.00613) gives its mask head the position of each cell in the box and an
embedding of the box's centre. On COCO (SWEEP) or the built-in dataset (SHAPES).
"""

from mask_heads import SEEN, SHAPES_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

NAMES = ["none", "coordinates", "instance_embedding", "coordinates_and_embedding"]
MASK_INPUTS = axis("mask_inputs", *[f"gin/mask_inputs/{name}.gin" for name in NAMES])

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50_hg52.gin", arms=MASK_INPUTS, seeds=3)

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", *SHAPES_HEADS["hourglass20"], arms=grid(MASK_INPUTS, SEEN),
    seeds=5)
