"""The published models have here as many parameters, part by part, as upstream's code gives them.

Upstream's numbers are in `golden/upstream_parameter_counts.json`; the script beside it wrote them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deepmac_ablate.modeling import checkpoints
from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Backbone, Norm, ResNetFPN, SpineNet
from deepmac_ablate.modeling.box_sources import GroundTruthBoxes
from deepmac_ablate.modeling.detectors.region_parts import (
    BoxHead,
    Detections,
    RegionProposals,
    RegionSampler,
)
from deepmac_ablate.modeling.mask_heads import ConvMaskHead, HourglassMaskHead, MaskHead
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from tests.helpers.parameter_counts import counts

UPSTREAM = json.loads(
    (Path(__file__).parents[1] / "golden" / "upstream_parameter_counts.json").read_text())


def published(
    backbone: Backbone, mask_head: MaskHead, anchors: Anchors | None = None, side: int = 1024
) -> MaskRCNN:
    """Build a model for COCO; what is not given is as published by default."""
    model = MaskRCNN(
        num_classes=91, image_size=(side, side), backbone=backbone, mask_head=mask_head,
        mask_boxes=GroundTruthBoxes(), anchors=anchors or Anchors(),
        region_proposals=RegionProposals(), region_sampler=RegionSampler(), box_head=BoxHead(),
        detections=Detections(), norm=Norm())
    model.create_variables()
    return model


def hourglass52() -> MaskHead:
    return HourglassMaskHead(depth=52, width=64, crop_size=32)


MODELS: dict[str, Callable[[], MaskRCNN]] = {
    "resnet50_default": lambda: published(
        ResNetFPN(50), ConvMaskHead(num_convs=4, width=256, crop_size=14)),
    "resnet50_hourglass52": lambda: published(ResNetFPN(50), hourglass52()),
    "resnet101_hourglass52": lambda: published(ResNetFPN(101), hourglass52()),
    "spinenet143_hourglass52": lambda: published(
        SpineNet("143", stochastic_depth_drop_rate=0.2), hourglass52(),
        Anchors(min_level=3, max_level=7, num_scales=3, size=4.0), side=1280),
}


def test_each_published_model_has_a_case() -> None:
    """All of upstream's are compared."""
    assert set(UPSTREAM) == set(MODELS)


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("name", MODELS)
def test_a_published_model_has_as_many_parameters(name: str) -> None:
    """Backbone, decoder and each head agree, and nothing lies outside of them."""
    model = MODELS[name]()
    assert UPSTREAM[name] == counts({**checkpoints.named_parts(model), "all": model})
