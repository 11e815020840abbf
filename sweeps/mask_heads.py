"""Does the mask head's architecture decide whether it generalises to classes without masks?

Claim (arXiv:2104.00613): with masks of some classes, heads that are alike under full supervision
differ dramatically on novel classes. SWEEP compares all heads in ground-truth boxes on COCO;
default_crop32 and default_crop32_width128 separate crop and width from the architecture. SHAPES
does so on the built-in dataset, at one crop size and width.
"""

from deepmac_ablate.sweep import Sweep, axis, grid

NAMES = [
    "default", "default_crop32", "fully_connected", "separable", "resnet4", "resnet8", "resnet12",
    "resnet16", "resnet20", "hourglass10", "hourglass20", "hourglass32", "hourglass52",
    "hourglass100",
]
# Hourglasses of width 64 have 128 channels at full resolution.
MATCHED = {
    "default_crop32_width128": ["gin/mask_heads/default_crop32.gin", "ConvMaskHead.width = 128"]}
MASK_HEAD = axis("mask_head", *[f"gin/mask_heads/{name}.gin" for name in NAMES], MATCHED)
# A shallow and a deep head of the same crop and width.
TWO_HEADS = axis("mask_head", MATCHED, "gin/mask_heads/hourglass52.gin")

SWEEP = Sweep("gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=MASK_HEAD, seeds=3)


def shapes_head(family: str, name: str, width: int) -> list[str]:
    """Return the settings of a head for objects of 20 to 64 pixels: crops of 16 x 16 cells."""
    return [f"gin/mask_heads/{name}.gin", f"{family}.crop_size = 16", f"{family}.width = {width}"]


# All have 64 channels at full resolution; residual heads double their width after the first layer.
SHAPES_HEADS = {
    "default": shapes_head("ConvMaskHead", "default", 64),
    "separable": shapes_head("SeparableConvMaskHead", "separable", 64),
    "fully_connected": shapes_head("FullyConnectedMaskHead", "fully_connected", 64),
    **{f"resnet{depth}": shapes_head("ResNetMaskHead", f"resnet{depth}", 32)
       for depth in (4, 8, 12, 16, 20)},
    **{f"hourglass{depth}": shapes_head("HourglassMaskHead", f"hourglass{depth}", 32)
       for depth in (10, 20, 32)},
}
SEEN = axis("seen", "gin/class_splits/shapes_a.gin", "gin/class_splits/shapes_b.gin")

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", arms=grid(axis("mask_head", SHAPES_HEADS), SEEN), seeds=5)
