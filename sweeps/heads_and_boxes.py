"""Do deep mask heads help only if they are trained in ground-truth boxes?

Claim (arXiv:2104.00613): deep heads pay off on novel classes once they are trained in ground-truth
boxes only. SWEEP asks on COCO with the published shallow head and two deep ones, SHAPES for six
heads of one crop and width on the built-in dataset with two complementary sets of mask classes;
COCO_SMALL only rehearses it on any COCO records on a CPU: --gin-bindings "TRAIN = '...'"
--gin-bindings "VAL = '...'".
"""

from mask_heads import SEEN, SHAPES_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

MASK_HEAD = axis(
    "mask_head", *[f"gin/mask_heads/{name}.gin" for name in ("default", "resnet20", "hourglass52")])
BOX_SOURCE = axis("box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(MASK_HEAD, BOX_SOURCE), seeds=3)

NAMES = ["default", "fully_connected", "resnet8", "resnet20", "hourglass10", "hourglass20"]
SHAPES_HEAD = axis("mask_head", {name: SHAPES_HEADS[name] for name in NAMES})
SHAPES_BOX_SOURCE = axis(
    "box_source", "gin/box_sources/proposals.gin", "gin/box_sources/groundtruth.gin",
    "gin/box_sources/jittered.gin")

SHAPES = Sweep(
    "gin/experiments/shapes_masks.gin", arms=grid(SHAPES_HEAD, SHAPES_BOX_SOURCE, SEEN), seeds=5)

SMALL_HEAD = axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass20.gin")

COCO_SMALL = Sweep("gin/experiments/coco_small.gin", arms=grid(SMALL_HEAD, BOX_SOURCE))
