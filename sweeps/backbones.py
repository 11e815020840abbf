"""Does the gain of a deep mask head depend on the backbone?

Claim (arXiv:2104.00613): it holds across backbones. SWEEP asks on COCO, with heads of the same crop
and width. SHAPES trains small backbones from scratch on the built-in dataset, where no other
detector is at hand.
"""

from mask_heads import SHAPES_HEADS, TWO_HEADS

from deepmac_ablate.sweep import Sweep, axis, grid

MODEL_GARDEN = "Training.init_checkpoint = 'gs://tf_model_garden/vision/{}'"
BACKBONE = axis("backbone", {
    "resnet50": [],
    "resnet101": ["gin/backbones/resnet101.gin",
                  MODEL_GARDEN.format("resnet101_imagenet/ckpt-62400")],
})

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(BACKBONE, TWO_HEADS), seeds=3)

SHAPES_BACKBONE = axis("backbone", *[
    f"gin/backbones/{name}.gin" for name in ("resnet10_half", "resnet18", "mobilenet_v3_small")])
SHAPES_HEAD = axis("mask_head", {name: SHAPES_HEADS[name] for name in ("default", "hourglass20")})

SHAPES = Sweep(
    "gin/experiments/shapes_small.gin", arms=grid(SHAPES_BACKBONE, SHAPES_HEAD), seeds=3)
