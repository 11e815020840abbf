"""Do coordinates and an instance embedding help a mask head?

DeepMAC's head (arXiv:2104.00613) sees the position of each cell in the box and an embedding of the
box's centre, Mask R-CNN's only the features inside the box. On COCO (SWEEP) or the built-in dataset
(SHAPES).
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
