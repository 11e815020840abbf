"""Do heads, boxes and weak losses rank on real pictures as they do on the built-in dataset?

Claim (ours): they do. Part C of the study (analysis/study_design.md): 156 images of COCO
(analysis/study/pictures_ids.txt), split eight times at random by

    deepmac-ablate data split --annotations instances.json --output data/coco_part/0 --share 0.33

with the seeds 0 to 7, and converted to data/coco_part/0/train, data/coco_part/0/val and so on. The
splits alternate between VOC -> non-VOC and the reverse, and each has a seed of its own. They share
images, which the analysis has to allow for. A grid of two heads, and the other four of part A in
ground-truth boxes without weak losses.
"""

from collections.abc import Mapping

from heads_and_boxes import SHAPES_HEAD as MASK_HEAD

from deepmac_ablate.sweep import Sweep, axis, grid, seeds, union, where

BOX_SOURCE = axis("box_source", "gin/box_sources/groundtruth.gin", "gin/box_sources/jittered.gin")
WEAK_LOSSES = axis(
    "weak_losses", "gin/weak_losses/none.gin", "gin/weak_losses/projection_and_colour.gin")
DIRECTIONS = ("voc", "nonvoc")
SEEN = axis("seen", *[f"gin/class_splits/{name}.gin" for name in DIRECTIONS])
NUMBERS = range(8)
PICTURES = axis("pictures", {
    f"split{number}": [f"TRAIN = 'data/coco_part/{number}/train'",
                       f"VAL = 'data/coco_part/{number}/val'"] for number in NUMBERS})
ARMS = grid(MASK_HEAD, BOX_SOURCE, WEAK_LOSSES, SEEN, PICTURES)


def is_asked(arm: Mapping[str, str], number: int) -> bool:
    """Return whether an arm belongs to a split, its direction, and the grid or the other heads."""
    of_grid = arm["mask_head"] in ("default", "hourglass20")
    plain = (arm["box_source"], arm["weak_losses"]) == ("groundtruth", "none")
    of_split = (f"split{number}", DIRECTIONS[number % 2])
    return (arm["pictures"], arm["seen"]) == of_split and (of_grid or plain)


SWEEP = Sweep(
    "gin/experiments/coco_masks.gin",
    arms=union(*(seeds(where(ARMS, lambda arm, n=number: is_asked(arm, n)), [number])
                 for number in NUMBERS)))
