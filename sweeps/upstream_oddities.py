"""Do the oddities of the published code change its numbers?

Claim (ours): none of them does by more than the seed. gin/upstream.gin lists what the published
recipes (arXiv:2104.00613) do without saying so. SWEEP leaves each of them out alone on COCO; SHAPES
adds each alone on the built-in dataset, except those that need several devices.
"""

from mask_heads import SEEN, SHAPES_HEADS

from deepmac_ablate.sweep import Sweep, add_one, grid, switch

LEFT_OUT = add_one(
    switch("decay", "HourglassMaskHead.weight_decay = True"),
    switch("momentum", "hourglass/BatchNorm.momentum = 0.9"),
    switch("sync_norms", "BatchNorm.synchronized = True"),
    switch("packing", "MaskRCNN.pad_to_all_slots = False"))

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50_hg52.gin", arms=LEFT_OUT, seeds=3)

ADDED = add_one(
    switch("no_decay", "HourglassMaskHead.weight_decay = False"),
    switch("momentum", "hourglass/BatchNorm.momentum = 0.1"),
    switch("padding", "MaskRCNN.pad_to_all_slots = True"))

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", *SHAPES_HEADS["hourglass20"], arms=grid(ADDED, SEEN),
    seeds=5)
