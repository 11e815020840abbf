"""Why does an hourglass generalise: its depth, its down- and upsampling, or its shortcuts?

Hourglass-20 complete and without each part (as in arXiv:2104.00613), and with other mask inputs and
normalization.
"""

from deepmac_ablate.sweep import Sweep, axis, one_at_a_time

MASK_HEAD = axis(
    "mask_head", "gin/mask_heads/hourglass20.gin", "gin/mask_heads/hourglass20_no_shortcut.gin",
    "gin/mask_heads/hourglass20_uniform_size.gin", "gin/mask_heads/resnet20.gin",
    "gin/mask_heads/default_crop32.gin")
MASK_INPUTS = axis(
    "mask_inputs", "gin/mask_inputs/none.gin", "gin/mask_inputs/coordinates.gin",
    "gin/mask_inputs/instance_embedding.gin")
MASK_NORM = axis("mask_norm", "gin/mask_norms/batch.gin", "gin/mask_norms/group.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50_hg52.gin",
    arms=one_at_a_time(MASK_HEAD, MASK_INPUTS, MASK_NORM), seeds=3)
