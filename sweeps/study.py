"""Which parts of a mask head and of its training decide how well it segments novel classes?

Claim (arXiv:2104.00613): ground-truth boxes and deep heads. The study on the built-in dataset
(docs/study.md, analysis/study_design.md): six heads in three box sources; in ground-truth boxes
also with masks of all classes, class-specific heads, parts of the hourglass, and weak losses. Only
the mask head is trained, in the features of a frozen detector.
RERUN trains three of its rows, drawn at random, with new seeds: do they land in their intervals?
"""

import random
from collections.abc import Mapping

from class_agnostic import SHAPES_HEAD as SPECIFIC
from heads_and_boxes import SHAPES_BOX_SOURCE as BOX_SOURCE
from heads_and_boxes import SHAPES_HEAD as SIX_HEADS
from hourglass_parts import SHAPES_PARTS
from weak_losses import WEAK_LOSSES

from deepmac_ablate.sweep import Sweep, axis, grid, where

HEADS = {
    level.name: [*level.gin_files, *level.bindings]
    for an_axis in (SIX_HEADS, SPECIFIC) for level in an_axis.levels} | SHAPES_PARTS
SEEN = axis("seen", *[f"gin/class_splits/{name}.gin" for name in ("shapes_a", "shapes_b", "all")])


def is_asked(arm: Mapping[str, str]) -> bool:
    """Return whether a question of the study needs an arm."""
    six = arm["mask_head"] in SIX_HEADS.level_names
    if arm["weak_losses"] != "none":
        two = arm["mask_head"] in ("default", "hourglass20")
        return two and arm["box_source"] == "groundtruth" and arm["seen"] != "all"
    if arm["seen"] == "all":
        return six and arm["box_source"] == "groundtruth"
    return six or arm["box_source"] == "groundtruth"


def row(arm: Mapping[str, str]) -> tuple[str, str, str, bool]:
    """Return the levels of an arm without its half of the classes."""
    return arm["mask_head"], arm["box_source"], arm["weak_losses"], arm["seen"] == "all"


ARMS = where(grid(axis("mask_head", HEADS), BOX_SOURCE, SEEN, WEAK_LOSSES), is_asked)
SWEEP = Sweep("gin/experiments/shapes_masks.gin", arms=ARMS, seeds=8)

DRAWN = random.Random(0).sample(list(dict.fromkeys(row(arm.levels) for arm in SWEEP.arms)), 3)
RERUN = Sweep(
    "gin/experiments/shapes_masks.gin", arms=where(ARMS, lambda arm: row(arm) in DRAWN),
    seeds=(10, 11, 12, 13))
