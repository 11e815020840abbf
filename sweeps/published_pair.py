"""Which change raises the published 25.9 mask AP to 33.1: head, crop or width?

Claim (arXiv:2104.00613): the head. But the published pair changes it from four convolutions to
Hourglass-52, the crop from 14 to 32 cells, and the width from 256 to 64 at once, which for an
hourglass are 128 channels at full resolution. SWEEP changes one after the other on COCO, SHAPES
likewise on the built-in dataset, where Hourglass-20 has the 64 channels of crop32.
"""

from mask_heads import SEEN

from deepmac_ablate.sweep import Sweep, axis, grid


def convolutions(crop: int, width: int) -> list[str]:
    """Return the settings of the head of four convolutions."""
    return ["gin/mask_heads/default.gin", f"ConvMaskHead.crop_size = {crop}",
            f"ConvMaskHead.width = {width}"]


STEPS = {
    "default": "gin/mask_heads/default.gin",
    "crop32": convolutions(32, 256),
    "width64": convolutions(14, 64),
    "crop32_width64": convolutions(32, 64),
    "crop32_width128": convolutions(32, 128),
    "hourglass52": "gin/mask_heads/hourglass52.gin",
}
SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=axis("mask_head", STEPS), seeds=3)

SHAPES_STEPS = {
    "default": convolutions(14, 64),
    "crop32": convolutions(32, 64),
    "width32": convolutions(14, 32),
    "crop32_width32": convolutions(32, 32),
    "hourglass20": ["gin/mask_heads/hourglass20.gin", "HourglassMaskHead.width = 32"],
}
SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", arms=grid(axis("mask_head", SHAPES_STEPS), SEEN), seeds=5)
