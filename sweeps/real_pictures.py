"""Do heads, boxes and weak losses rank on real pictures as they do on the built-in dataset?

Part C of the study (analysis/study_design.md): 156 images of COCO, split four times at random by

    deepmac-ablate data split --annotations instances.json --output data/coco_part/0 --share 0.33

with the seeds 0 to 3, and converted to data/coco_part/0/train, data/coco_part/0/val and so on; both
directions, VOC -> non-VOC and back. The splits are replicates: `effects --replicates pictures`.
"""

from deepmac_ablate.sweep import Sweep, axis, grid

MASK_HEAD = axis(
    "mask_head", default="gin/mask_heads/default_crop16.gin",
    hourglass20="gin/mask_heads/hourglass20_crop16.gin")
BOX_SOURCE = axis("box_source", "gin/box_sources/groundtruth.gin", "gin/box_sources/jittered.gin")
WEAK_LOSSES = axis(
    "weak_losses", "gin/weak_losses/none.gin", "gin/weak_losses/projection_and_colour.gin")
SEEN = axis("seen", "gin/class_splits/voc.gin", "gin/class_splits/nonvoc.gin")
PICTURES = axis("pictures", {
    f"split{number}": [f"TRAIN = 'data/coco_part/{number}/train'",
                       f"VAL = 'data/coco_part/{number}/val'"] for number in range(4)})

SWEEP = Sweep(
    "gin/experiments/coco_masks.gin",
    arms=grid(MASK_HEAD, BOX_SOURCE, WEAK_LOSSES, SEEN, PICTURES))
