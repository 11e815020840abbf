"""Must a mask head be class-agnostic to segment novel classes?

Claim (ours): yes, and all published heads are (arXiv:2104.00613). Of a head with a mask for each
class, nothing trains the masks of novel classes, which show what untrained weights give. For a
shallow and a deep head, on COCO (SWEEP) or the built-in dataset (SHAPES).
"""

from mask_heads import SEEN, SHAPES_HEADS, TWO_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

SHAPES_NAMES = {"ConvMaskHead": "default", "HourglassMaskHead": "hourglass20"}
SPECIFIC = {family: f"{family}.class_agnostic = False" for family in SHAPES_NAMES}
MASK_HEAD = axis("mask_head", {
    f"{level.name}{suffix}": [*level.gin_files, *level.bindings, *extra]
    for family, level in zip(SPECIFIC, TWO_HEADS.levels, strict=True)
    for suffix, extra in (("", []), ("_class_specific", [SPECIFIC[family]]))})

SWEEP = Sweep("gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=MASK_HEAD, seeds=3)

SHAPES_HEAD = axis("mask_head", {
    f"{name}{suffix}": [*SHAPES_HEADS[name], *extra]
    for family, name in SHAPES_NAMES.items()
    for suffix, extra in (("", []), ("_class_specific", [SPECIFIC[family]]))})

SHAPES = Sweep("gin/experiments/shapes_masks.gin", arms=grid(SHAPES_HEAD, SEEN), seeds=5)
