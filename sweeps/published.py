"""Are the published numbers reproduced: 25.9, 33.1, 34.4 and 38.7 mask AP on non-VOC classes?

Claim (arXiv:2104.00613): they are the scores of these recipes. The models with masks of
VOC classes, from the smallest to the largest, with three seeds each; TPUs trained them.
"""

from deepmac_ablate.sweep import Sweep, axis

RECIPE = axis(
    "recipe",
    r50="gin/experiments/deep_mask_head_rcnn_voc_r50.gin",
    r50_hg52="gin/experiments/deep_mask_head_rcnn_voc_r50_hg52.gin",
    r101_hg52="gin/experiments/deep_mask_head_rcnn_voc_r101_hg52.gin",
    spinenet143_hg52="gin/experiments/deep_mask_head_rcnn_voc_spinenet143_hg52.gin",
)

SWEEP = Sweep(arms=RECIPE, seeds=3)
