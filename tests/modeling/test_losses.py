"""Losses are exchanged and added by reference, and their names are their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.losses import (
    BoxLoss,
    ClassLoss,
    Loss,
    Losses,
    MaskCrossEntropy,
    MaskLoss,
    RpnBoxLoss,
    RpnScoreLoss,
)
from tests.helpers import tiny_model


class SquaredError(MaskLoss):
    """Squared error of every mask, doubled by a Python `if` that AutoGraph must convert."""

    name = "squared_error"
    weight = 0.25

    def loss(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Compute the loss of every mask."""
        errors = tf.reduce_mean((tf.sigmoid(logits) - targets) ** 2, axis=[1, 2])
        if tf.size(errors) > 0:
            errors = 2.0 * errors
        return errors


EXCHANGED = ("rpn_score_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss")


class Numbered(Loss):
    """The number of slots, as a loss of any kind."""

    name = "slots"

    def __call__(self, outputs: Mapping[str, Any], labels: Mapping[str, Any]) -> tf.Tensor:
        """Compute the loss."""
        return tf.cast(tf.size(outputs["mask_slots"].valid), tf.float32)


@pytest.fixture(scope="module")
def data() -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Outputs of a tiny model in training, and the labels."""
    model, batch = tiny_model.build_model(), tiny_model.batch()
    return model(*batch, seed=tiny_model.SEED, training=True), batch.labels


def losses_of(data: tuple[dict[str, Any], Mapping[str, Any]], **options: Any) -> dict[str, float]:
    """Compute losses as a trainer does, in a graph without AutoGraph."""
    compute = tf.function(lambda: Losses(**options)(*data, [tf.constant(0.5)]), autograph=False)
    return {name: float(value) for name, value in compute().items()}


def by_hand(data: tuple[dict[str, Any], Mapping[str, Any]]) -> float:
    """The loss of `SquaredError`, computed with numpy."""
    outputs, _ = data
    valid = outputs["mask_slots"].valid.numpy()
    masks = 1 / (1 + np.exp(-outputs["mask_outputs"].numpy().astype(float)))
    errors = ((masks - outputs["mask_targets"].numpy()) ** 2).mean(axis=(1, 2))
    return 2 * errors[valid].sum() / (valid.sum() + 0.01)


@pytest.mark.slow
def test_another_mask_loss_takes_the_place_of_the_usual_one(data) -> None:
    """It is logged as the mask loss and weighted as such; the other losses stay."""
    usual, changed = losses_of(data), losses_of(data, mask_loss=SquaredError(), mask_weight=2.0)
    assert usual.keys() == changed.keys()
    assert by_hand(data) == pytest.approx(changed["mask_loss"], rel=1e-5)
    for name in usual.keys() - {"mask_loss", "total_loss"}:
        assert usual[name] == changed[name]
    assert usual["total_loss"] - usual["mask_loss"] + 2 * 0.25 * changed["mask_loss"] == (
        pytest.approx(changed["total_loss"], rel=1e-5))


@pytest.mark.parametrize("name", EXCHANGED)
def test_each_loss_can_be_exchanged(data, name: str) -> None:
    """The new loss is logged and counted in the place of the old one."""
    usual, changed = losses_of(data), losses_of(data, **{name: Numbered()})
    slots = len(data[0]["mask_slots"].valid)
    assert slots == changed[name]
    assert usual["total_loss"] - usual[name] + slots == pytest.approx(
        changed["total_loss"], rel=1e-5)


def test_further_losses_are_added(data) -> None:
    """They are logged by their own names, without their weights."""
    usual = losses_of(data)
    more = losses_of(data, further_losses=[SquaredError(), Numbered()])
    assert usual.keys() | {"squared_error", "slots"} == more.keys()
    assert by_hand(data) == pytest.approx(more["squared_error"], rel=1e-5)
    slots = len(data[0]["mask_slots"].valid)
    assert slots == more["slots"]
    assert usual["total_loss"] + 0.25 * by_hand(data) + slots == (
        pytest.approx(more["total_loss"], rel=1e-5))


def test_the_usual_losses_can_be_named(data) -> None:
    """Each part is the default one."""
    named = losses_of(
        data, rpn_score_loss=RpnScoreLoss(), rpn_box_loss=RpnBoxLoss(1.0 / 9.0),
        class_loss=ClassLoss(), box_loss=BoxLoss(1.0), mask_loss=MaskCrossEntropy())
    assert losses_of(data) == named


def test_a_frozen_detector_has_no_losses_and_keeps_further_ones(data) -> None:
    """Without the outputs of the detector, only losses of masks are left."""
    outputs = {name: value for name, value in data[0].items() if name.startswith("mask")}
    found = losses_of((outputs, data[1]), further_losses=[SquaredError()])
    assert {"mask_loss", "squared_error", "regularization_loss", "total_loss"} == found.keys()


def named(name: str) -> Loss:
    """Return a loss with a name."""
    loss = SquaredError()
    loss.name = name
    return loss


@pytest.mark.parametrize(("options", "message"), [
    ({"further_losses": [named("")]}, "SquaredError.name, under which the loss is logged, must"),
    ({"further_losses": [named("Dice loss")]}, "such as 'dice_loss', got 'Dice loss'."),
    ({"further_losses": [named("mask_loss")]}, "'mask_loss' is the name of another loss"),
    ({"further_losses": [named("total_loss")]}, "'total_loss' is the name of another loss"),
    ({"further_losses": [named("a"), named("a")]}, "'a' is the name of another loss"),
    ({"box_loss": SquaredError(), "box_huber_delta": 0.5},
     "Losses.box_huber_delta = 0.5 has no effect, as SquaredError takes the place of the Huber"),
])
def test_names_and_settings_without_effect_are_refused(options, message) -> None:
    """The sentence has the class, the name and what is allowed."""
    with pytest.raises(UserError) as raised:
        Losses(**options)
    assert message in str(raised.value)
