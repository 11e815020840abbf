"""Do heads, boxes and weak losses rank on real pictures as they do on the built-in dataset?

Part C of the study (analysis/study_design.md): 156 images of COCO, split four times at random by

    deepmac-ablate data split --annotations instances.json --output data/coco_part/0 --share 0.33

with the seeds 0 to 3, and converted to data/coco_part/0/train, data/coco_part/0/val and so on; both
directions, VOC -> non-VOC and back. The splits are replicates: `effects --replicates pictures`.
A grid of two heads, and the other four of part A in ground-truth boxes without weak losses.
"""

from collections.abc import Mapping

from heads_and_boxes import SHAPES_HEAD as MASK_HEAD

from deepmac_ablate.sweep import Sweep, axis, grid, union, where

BOX_SOURCE = axis("box_source", "gin/box_sources/groundtruth.gin", "gin/box_sources/jittered.gin")
WEAK_LOSSES = axis(
    "weak_losses", "gin/weak_losses/none.gin", "gin/weak_losses/projection_and_colour.gin")
SEEN = axis("seen", "gin/class_splits/voc.gin", "gin/class_splits/nonvoc.gin")
PICTURES = axis("pictures", {
    f"split{number}": [f"TRAIN = 'data/coco_part/{number}/train'",
                       f"VAL = 'data/coco_part/{number}/val'"] for number in range(4)})



def is_of_two_heads(arm: Mapping[str, str]) -> bool:
    """Return whether an arm is of the grid."""
    return arm["mask_head"] in ("default", "hourglass20")


def is_plain(arm: Mapping[str, str]) -> bool:
    """Return whether an arm is of those whose heads are ranked."""
    return (arm["box_source"], arm["weak_losses"]) == ("groundtruth", "none")


ARMS = grid(MASK_HEAD, BOX_SOURCE, WEAK_LOSSES, SEEN, PICTURES)
SWEEP = Sweep(
    "gin/experiments/coco_masks.gin",
    arms=union(where(ARMS, is_of_two_heads), where(ARMS, is_plain)))
