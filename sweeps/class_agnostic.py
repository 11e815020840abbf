"""Must a mask head be class-agnostic to segment novel classes?

Claim (arXiv:2104.00613): a head with one mask for all classes generalises; one with a mask of its
own for each class has never trained those of novel classes. For a shallow and a deep head, on COCO
(SWEEP) or the built-in dataset (SHAPES).
"""

from mask_heads import SEEN, SHAPES_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

HEADS = {"ConvMaskHead": "default", "HourglassMaskHead": "hourglass52"}
SHAPES_NAMES = {"ConvMaskHead": "default", "HourglassMaskHead": "hourglass20"}
SPECIFIC = {family: f"{family}.class_agnostic = False" for family in HEADS}
MASK_HEAD = axis("mask_head", {
    f"{name}{suffix}": [f"gin/mask_heads/{name}.gin", *extra]
    for family, name in HEADS.items()
    for suffix, extra in (("", []), ("_class_specific", [SPECIFIC[family]]))})

SWEEP = Sweep("gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=MASK_HEAD, seeds=3)

SHAPES_HEAD = axis("mask_head", {
    f"{name}{suffix}": [*SHAPES_HEADS[name], *extra]
    for family, name in SHAPES_NAMES.items()
    for suffix, extra in (("", []), ("_class_specific", [SPECIFIC[family]]))})

SHAPES = Sweep("gin/experiments/shapes_masks.gin", arms=grid(SHAPES_HEAD, SEEN), seeds=5)
