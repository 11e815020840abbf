"""Does the gain of a deep mask head depend on the backbone?

Claim (arXiv:2104.00613): it holds for all backbones; the published models gain 7 points of novel
mask AP by the head, and 1 to 4 more by larger backbones. SWEEP asks on COCO. SHAPES trains small
backbones from scratch on the built-in dataset, where no other detector is at hand.
"""

from deepmac_ablate.sweep import Sweep, axis, grid

MODEL_GARDEN = "Training.init_checkpoint = 'gs://tf_model_garden/vision/{}'"
BACKBONE = axis("backbone", {
    "resnet50": [],
    "resnet101": ["gin/backbones/resnet101.gin",
                  MODEL_GARDEN.format("resnet101_imagenet/ckpt-62400")],
})
MASK_HEAD = axis("mask_head", "gin/mask_heads/default_crop32.gin", "gin/mask_heads/hourglass52.gin")

SWEEP = Sweep(
    "gin/experiments/deep_mask_head_rcnn_voc_r50.gin", arms=grid(BACKBONE, MASK_HEAD), seeds=3)

SHAPES_BACKBONE = axis("backbone", *[
    f"gin/backbones/{name}.gin" for name in ("resnet10_half", "resnet18", "mobilenet_v3_small")])
SHAPES_HEAD = axis("mask_head", *[
    f"gin/mask_heads/{name}.gin" for name in ("default_crop16", "hourglass20_crop16")])

SHAPES = Sweep(
    "gin/experiments/shapes_small.gin", arms=grid(SHAPES_BACKBONE, SHAPES_HEAD), seeds=3)
