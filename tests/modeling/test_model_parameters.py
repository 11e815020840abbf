"""Each parameter of the model and its parts does something.

An operative configuration proves that a value was passed, not that it was used. Here every
parameter is changed, and something that a user can see must change with it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate.modeling.anchors import Anchors
from deepmac_ablate.modeling.backbones import Norm, ResNetFPN
from deepmac_ablate.modeling.box_sources import (
    BoxSource,
    GroundTruthBoxes,
    JitteredGroundTruthBoxes,
    ProposalBoxes,
)
from deepmac_ablate.modeling.detectors import NoDetector
from deepmac_ablate.modeling.detectors.region_parts import (
    BoxHead,
    Detections,
    RegionProposals,
    RegionSampler,
    StaticDetections,
)
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_inputs import Coordinates
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from tests.helpers import tiny_model
from tests.modeling.test_losses import EXCHANGED

ANCHORS = {"min_level": 2, "max_level": 5, "size": 3.0, "samples_per_image": 64}
PROPOSALS = {"num_filters": 16, "pre_nms_top_k": 50, "num_proposals": 50,
             "test_pre_nms_top_k": 50, "test_num_proposals": 20}
BOX_HEAD = {"num_convs": 1, "num_filters": 16, "fc_dims": 32}
DETECTIONS = {"max_per_image": 6}
BACKBONE = {"depth": 10, "fpn_filters": 16, "width_multiplier": 0.125}

MODEL_CHANGES = {
    "num_classes": 9,
    "image_size": (64, 96),
    "backbone": ResNetFPN(10, fpn_filters=12, width_multiplier=0.125),
    "mask_head": tiny_model.hourglass_head,
    "mask_boxes": ProposalBoxes(),
    "anchors": Anchors(**{**ANCHORS, "size": 4.0}),
    "region_proposals": RegionProposals(**{**PROPOSALS, "nms_iou": 0.2}),
    "region_sampler": RegionSampler(num_samples=12),
    "box_head": BoxHead(**{**BOX_HEAD, "fc_dims": 40}),
    "detections": Detections(**{**DETECTIONS, "max_per_image": 4}),
    "norm": Norm(momentum=0.5),
    "detector": NoDetector(),
    "mask_inputs": lambda: [Coordinates()],
    "pad_to_all_slots": True,
    "l2_weight_decay": 1e-3,
}
# What an ablation exchanges; the others are changed in the extended tests.
OFTEN = ("backbone", "mask_head", "mask_boxes", "mask_inputs")
# Part of the model -> the argument it is given as, its tiny options, and a change of each.
PART_CHANGES = {
    Anchors: ("anchors", ANCHORS, {
        "min_level": 3, "max_level": 4, "num_scales": 2, "aspect_ratios": (0.5, 1.0, 3.0),
        "size": 4.0, "match_iou": 0.5, "unmatched_iou": 0.05, "samples_per_image": 8,
        "positive_fraction": 0.02}),
    RegionProposals: ("region_proposals", PROPOSALS, {
        "num_convs": 2, "num_filters": 12, "pre_nms_top_k": 10, "num_proposals": 20,
        "nms_iou": 0.2, "test_pre_nms_top_k": 3, "test_num_proposals": 5}),
    BoxHead: ("box_head", BOX_HEAD, {
        "num_convs": 2, "num_filters": 12, "num_fcs": 2, "fc_dims": 40, "crop_size": 5}),
    Detections: ("detections", DETECTIONS, {
        "max_per_image": 4, "score_threshold": 0.5, "nms_iou": 0.05}),
    StaticDetections: ("detections", {**DETECTIONS, "pre_nms_top_k": 20}, {
        "max_per_image": 4, "score_threshold": 0.5, "nms_iou": 0.05, "pre_nms_top_k": 1}),
    Norm: ("norm", {"momentum": 0.9}, {
        "momentum": 0.5, "epsilon": 0.1, "synchronized": False, "activation": "swish"}),
    GroundTruthBoxes: ("mask_boxes", {"slots_per_image": 8}, {"slots_per_image": 1}),
    ResNetFPN: ("backbone", BACKBONE, {
        "depth": 18, "fpn_filters": 12, "width_multiplier": 0.25}),
}
LOSS_CHANGES = {
    "rpn_score_weight": 2.0, "rpn_box_weight": 2.0, "class_weight": 2.0, "box_weight": 2.0,
    "mask_weight": 2.0, "rpn_huber_delta": 0.01, "box_huber_delta": 0.1}


def behaviour(**changes: Any) -> list[np.ndarray]:
    """Return visible properties: size, training outputs, losses, statistics, detections."""
    model = tiny_model.build_model(**changes)
    data = tiny_model.batch(image_size=model.image_size, anchors=model.anchors)
    tiny_model.step(model, data)
    tiny_model.randomise(model.variables, seed=2)
    result = tiny_model.step(model, data)
    slots = result.outputs["mask_slots"]
    found = (model(data.images, data.image_shape, training=False)
             if model.detector.finds_objects else {"features": None})
    found.pop("features")
    seen = [model.count_params(), result.losses, result.outputs.get("class_outputs", 0),
            result.outputs["mask_outputs"], slots.boxes, found, model.non_trainable_variables]
    return [np.asarray(x) for x in tf.nest.flatten(seen)]


@functools.cache
def plain_behaviour() -> list[np.ndarray]:
    return behaviour()


def differ(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    """Return whether two results differ by more than rounding."""
    return len(one) != len(other) or any(
        a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_equal_models_behave_equally() -> None:
    """Nothing but the parameters decides: without this the tests below would say nothing."""
    assert not differ(plain_behaviour(), behaviour())


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if name in OFTEN else pytest.mark.extended)
    for name in MODEL_CHANGES])
def test_each_parameter_of_the_model_matters(name: str) -> None:
    """Changing one argument of `MaskRCNN` changes what is seen."""
    value = MODEL_CHANGES[name]
    assert differ(plain_behaviour(), behaviour(**{name: value() if callable(value) else value}))


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, (_, _, of) in PART_CHANGES.items() for name in of],
    ids=lambda x: getattr(x, "__name__", x))
def test_each_parameter_of_a_part_matters(part: type, name: str) -> None:
    """Changing one argument of a part changes what is seen of the model."""
    argument, options, changes = PART_CHANGES[part]
    changed = part(**{**options, name: changes[name]})
    assert differ(plain_behaviour(), behaviour(**{argument: changed}))


@functools.cache
def outputs_and_labels() -> tuple[dict[str, Any], dict[str, Any]]:
    model, data = tiny_model.build_model(), tiny_model.batch()
    tiny_model.step(model, data)
    tiny_model.randomise(model.variables, seed=2)
    model.detector.region_sampler = tiny_model.FixedRegions(tiny_model.regions(data))
    return tiny_model.step(model, data).outputs, data.labels


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSS_CHANGES)
def test_each_parameter_of_the_losses_matters(name: str) -> None:
    """A weight changes the total by its loss; a delta changes its own loss."""
    outputs, labels = outputs_and_labels()
    plain = Losses()(outputs, labels, [])
    changed = Losses(**{name: LOSS_CHANGES[name]})(outputs, labels, [])
    if name.endswith("_weight"):
        loss = plain[name.removesuffix("_weight") + "_loss"]
        assert float(changed["total_loss"] - plain["total_loss"]) == pytest.approx(
            float(loss), rel=1e-3)
    else:
        loss = {"rpn_huber_delta": "rpn_box_loss", "box_huber_delta": "box_loss"}[name]
        assert float(changed[loss]) != pytest.approx(float(plain[loss]), rel=1e-2)


@pytest.mark.slow
@pytest.mark.extended
def test_the_number_of_offered_proposals_matters() -> None:
    """With `max_per_image` proposals per image no more enter the mask branch."""
    few = behaviour(mask_boxes=ProposalBoxes(max_per_image=1), pad_to_all_slots=True)
    many = behaviour(mask_boxes=ProposalBoxes(max_per_image=3), pad_to_all_slots=True)
    assert differ(few, many)


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize(
    "source", [ProposalBoxes, functools.partial(JitteredGroundTruthBoxes, 0.3)])
def test_the_number_of_slots_matters(source: Callable[..., BoxSource]) -> None:
    """With `slots_per_image` fewer boxes are trained on than offered."""
    few = behaviour(mask_boxes=source(slots_per_image=1))
    many = behaviour(mask_boxes=source(slots_per_image=8))
    assert differ(few, many)


@pytest.mark.parametrize(
    ("part", "cases"),
    [(MaskRCNN, MODEL_CHANGES),
     # Losses are exchanged in test_losses.py.
     (Losses, {**LOSS_CHANGES, **dict.fromkeys(EXCHANGED), "further_losses": (),
               # Changed in test_weak_losses.py.
               "box_only_context": 0.5}),
     # These are changed in the tests above and in test_box_sources.py.
     (ProposalBoxes, {"max_per_image": 3, "slots_per_image": 1, "with_groundtruth": False}),
     (JitteredGroundTruthBoxes, {"ratio": 0.3, "mode": "shrink", "slots_per_image": 1}),
     *((part, changes) for part, (_, _, changes) in PART_CHANGES.items())],
    ids=lambda x: getattr(x, "__name__", ""))
def test_each_parameter_has_a_case(part: type, cases: dict[str, Any]) -> None:
    """A new parameter needs a case above."""
    # It changes the time, not the boxes.
    cases = {**cases, "batched_nms": True} if part is RegionProposals else cases
    parameters = set(inspect.signature(part.__init__ if part is MaskRCNN else part).parameters)
    assert parameters - {"self"} == set(cases)


def test_each_box_source_has_cases() -> None:
    """A new box source needs a case above."""
    covered = {GroundTruthBoxes, JitteredGroundTruthBoxes, ProposalBoxes}
    assert covered == set(BoxSource.__subclasses__())
