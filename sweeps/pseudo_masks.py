"""Does a student learn more from the masks that a teacher predicts for novel classes?

Claim (ours): a student is better than its teacher on novel classes. The teacher is a trial with
masks of some classes; `deepmac-ablate data pseudo-masks` writes its masks of the others as a
dataset, on which the student trains with masks of all classes (docs/data.md). On COCO (SWEEP) or
the built-in dataset (SHAPES). Score all arms by the teacher's classes: `table --split voc`, or
`--split shapes_a`. The students of one dataset share a teacher, so intervals over their seeds leave
out what another teacher would change.
"""

from mask_heads import SHAPES_HEADS

from deepmac_ablate.sweep import Sweep, axis

ALL = "gin/class_splits/all.gin"
TRAINING = axis("training", {
    "teacher": [],
    "student": [ALL, "TRAIN = 'data/coco/pseudo'"],
    "all_masks": [ALL],
})

SWEEP = Sweep("gin/experiments/deep_mask_head_rcnn_voc_r50_hg52.gin", arms=TRAINING, seeds=3)

SHAPES_TRAINING = axis("training", {
    "teacher": [],
    "student": [ALL, "TRAIN = 'data/shapes_pseudo/train'", "DATASET = None"],
    "all_masks": [ALL],
})

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", *SHAPES_HEADS["hourglass20"], arms=SHAPES_TRAINING, seeds=5)
