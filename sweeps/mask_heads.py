"""Does the mask head's architecture decide whether it generalises to classes without masks?

All heads in ground-truth boxes on one backbone, as in the paper's comparison of architectures
(arXiv:2104.00613); default_crop32 separates the crop size from the architecture.
"""

from deepmac_ablate.sweep import Sweep, axis

NAMES = [
    "default", "default_crop32", "fully_connected", "separable", "resnet4", "resnet8", "resnet12",
    "resnet16", "resnet20", "hourglass10", "hourglass20", "hourglass32", "hourglass52",
    "hourglass100",
]
MASK_HEAD = axis("mask_head", *[f"gin/mask_heads/{name}.gin" for name in NAMES])

SWEEP = Sweep("gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=MASK_HEAD, seeds=3)
