"""Do deep mask heads help only if they are trained in ground-truth boxes?

The paper's second finding (arXiv:2104.00613): each head with both box sources.
"""

from deepmac_ablate.sweep import Sweep, axis, grid

MASK_HEAD = axis(
    "mask_head", *[f"gin/mask_heads/{name}.gin" for name in ("default", "resnet20", "hourglass52")])
BOX_SOURCE = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(MASK_HEAD, BOX_SOURCE), seeds=3)
