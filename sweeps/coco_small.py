"""Does everything work on real images: two heads, two sources of boxes, VOC to non-VOC?

A rehearsal of heads_and_boxes.py at reduced size on a CPU; it learns nothing that a table should
hold. Any COCO records will do: --gin_bindings "TRAIN = '...'" --gin_bindings "VAL = '...'".
"""

from deepmac_ablate.sweep import Sweep, axis, grid

MASK_HEAD = axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass20.gin")
BOX_SOURCE = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")

SWEEP = Sweep("gin/experiments/coco_small.gin", arms=grid(MASK_HEAD, BOX_SOURCE))
