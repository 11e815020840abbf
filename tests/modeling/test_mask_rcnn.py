"""The whole model: what padding and packing may not change, and its training step under XLA."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.box_sources import GroundTruthBoxes, ProposalBoxes
from deepmac_ablate.modeling.detectors import NoDetector
from deepmac_ablate.modeling.detectors.region_parts import RegionSampler
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.modeling.normalization import MaskedBatchNormalization
from tests.helpers import tiny_model
from tests.helpers.tiny_model import Batch, Step, batch, build_model, step

SOURCES = {"ground_truth": GroundTruthBoxes, "proposals": ProposalBoxes}
HEADS = {"conv": tiny_model.conv_head, "hourglass": tiny_model.hourglass_head}


class Subject:
    """A model that takes each step from the same weights, on the same regions."""

    def __init__(self, model: MaskRCNN) -> None:
        step(model, batch())
        tiny_model.randomise(model.variables, seed=2)
        self.model = model
        self._weights = model.get_weights()
        model.detector.region_sampler = tiny_model.FixedRegions(tiny_model.regions(batch()))

    def step(self, data: Batch, budget: int = 8, pad_to_all_slots: bool = False) -> Step:
        """Take a step."""
        self.restart()
        self.model._mask_boxes.slots_per_image = budget
        self.model.pad_to_all_slots = pad_to_all_slots
        return step(self.model, data)

    def restart(self) -> None:
        """Go back to the first weights."""
        self.model.set_weights(self._weights)

    def statistics(self) -> list[np.ndarray]:
        """The mask head's batch-norm statistics now."""
        return [v.numpy() for v in self.model.mask_head.non_trainable_variables]


@pytest.fixture(scope="module")
def headed() -> Callable[[str], Subject]:
    """The model with one of the heads, made once."""
    return functools.cache(lambda head: Subject(build_model(mask_head=HEADS[head]())))


@pytest.fixture(params=[
    ("conv", "proposals"), ("hourglass", "ground_truth"),
    *(pytest.param(case, marks=pytest.mark.extended) for case in (
        ("conv", "ground_truth"), ("hourglass", "proposals"))),
], ids=lambda case: "-".join(case))
def subject(
    headed: Callable[[str], Subject], request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Subject:
    """The model with each head and each box source."""
    head, source = request.param
    monkeypatch.setattr(headed(head).model, "_mask_boxes", SOURCES[source]())
    return headed(head)


def assert_same(expected: Step, actual: Step, tolerance: float = 1e-5) -> None:
    """Losses and gradients agree; gradients that are only rounding are bounded absolutely."""
    for name, loss in expected.losses.items():
        assert float(loss) == pytest.approx(float(actual.losses[name]), rel=tolerance), name
    gradients = [[tf.convert_to_tensor(g).numpy() for g in x.gradients] for x in (expected, actual)]
    largest = max(map(np.linalg.norm, gradients[0]))
    for one, other in zip(*gradients, strict=True):
        bound = tolerance * np.linalg.norm(one) + 1e-7 * largest
        assert np.linalg.norm(one - other) <= bound


def changed(data: Batch, **labels: Any) -> Batch:
    """The batch with some labels replaced."""
    return data._replace(labels={**data.labels, **labels})


@pytest.mark.slow
def test_packed_equals_padded_where_norms_mix_no_rows(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With batch norms as in inference, packing changes neither a loss nor a gradient."""
    monkeypatch.setattr(
        MaskedBatchNormalization, "call",
        lambda self, inputs, valid=None, training=None: self.norm(inputs, training=False))
    padded = subject.step(batch(), pad_to_all_slots=True)
    packed = subject.step(batch(), budget=5)
    assert padded.outputs["mask_outputs"].shape[0] > packed.outputs["mask_outputs"].shape[0]
    assert float(packed.outputs["mask_slots"].dropped) == 0.0
    assert_same(padded, packed)


@pytest.mark.slow
def test_padding_differs_from_packing_in_batch_statistics(subject: Subject) -> None:
    """With batch norms in training it does: padding has a part in upstream's statistics."""
    padded = subject.step(batch(), pad_to_all_slots=True)
    packed = subject.step(batch())
    difference = abs(float(padded.losses["mask_loss"]) - float(packed.losses["mask_loss"]))
    assert difference > 1e-4 * float(padded.losses["mask_loss"])


@pytest.mark.slow
def test_the_budget_changes_nothing_where_it_suffices(subject: Subject) -> None:
    """More slots than are needed give the same losses, gradients and statistics."""
    results, statistics = [], []
    for budget in (5, 7):
        results.append(subject.step(batch(slots=20), budget=budget))
        statistics.append(subject.statistics())
        assert 2 * budget == results[-1].outputs["mask_outputs"].shape[0]
    assert_same(*results)
    for one, other in zip(*statistics, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_padding_reaches_nothing(subject: Subject) -> None:
    """Neither the number of empty slots, nor their content, nor masks of novel classes matter."""
    plain = batch()
    noise = np.random.default_rng(5).uniform(size=plain.labels["gt_masks"].shape)
    hidden = ~plain.labels["gt_has_mask"].numpy()
    padding = (plain.labels["gt_classes"].numpy() < 0)[..., np.newaxis]
    assert (hidden & ~padding[..., 0]).any()
    masks = np.where(hidden[..., np.newaxis, np.newaxis], noise, plain.labels["gt_masks"])
    boxes = np.where(padding, [-9.0, -3.0, -2.0, -1.0], plain.labels["gt_boxes"])
    expected = subject.step(plain)
    statistics = subject.statistics()
    for other in (
        batch(slots=20),
        changed(plain, gt_masks=tf.constant(masks, tf.float32)),
        changed(plain, gt_boxes=tf.constant(boxes, tf.float32)),
    ):
        assert_same(expected, subject.step(other))
        for one, now in zip(statistics, subject.statistics(), strict=True):
            np.testing.assert_allclose(one, now, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(4, 2), (0, 0)])
def test_a_batch_without_a_mask_trains_the_rest(subject: Subject, counts: tuple[int, ...]) -> None:
    """With no valid box the mask loss is 0, all is finite, and the head's statistics stay."""
    subject.restart()
    before, data = subject.statistics(), batch(counts)
    result = subject.step(changed(data, gt_has_mask=tf.zeros_like(data.labels["gt_has_mask"])))
    assert float(result.losses["mask_loss"]) == 0.0
    assert np.isfinite(float(result.losses["total_loss"]))
    assert all(np.isfinite(tf.convert_to_tensor(g).numpy()).all() for g in result.gradients)
    for was, now in zip(before, subject.statistics(), strict=True):
        np.testing.assert_array_equal(was, now)


@pytest.mark.slow
def test_a_small_budget_says_what_it_drops(subject: Subject) -> None:
    """One slot per image: the surplus is counted, and the loss is that of the rest."""
    slots = subject.step(batch(), budget=1).outputs["mask_slots"]
    assert slots.valid.numpy().tolist() == [True, True]
    assert float(slots.dropped) == float(slots.offered) - 2.0 > 0.0


@pytest.mark.slow
def test_a_step_is_a_function_of_its_seed() -> None:
    """The same seed samples the same regions, another seed others."""
    model = build_model()
    step(model, batch())
    weights = model.get_weights()

    def logits(seed: list[int]) -> np.ndarray:
        model.set_weights(weights)
        return step(model, batch(), tf.constant(seed)).outputs["class_outputs"].numpy()

    first, again, other = map(logits, ([1, 2], [1, 2], [1, 3]))
    rounding = 1e-5 * np.abs(first).max()
    assert np.abs(first - again).max() < rounding
    assert np.abs(first - other).max() > 100 * rounding


@pytest.mark.slow
def test_leaving_out_empty_slots_changes_nothing() -> None:
    """With and without empty slots, losses, gradients and statistics agree to 1e-5."""
    results = []
    for trim in (False, True):
        model, data = build_model(mask_head=HEADS["hourglass"](), detector=NoDetector()), batch()
        model.create_variables()
        tiny_model.randomise(model.variables, seed=2)
        model.trim_slots = trim
        result = step(model, data)
        results.append([
            *result.losses.values(), *result.gradients, *model.non_trainable_variables])
        number = result.outputs["mask_slots"].valid.shape[0]
        assert number < 12 if trim else number == 12
    for expected, actual in zip(*results, strict=True):
        expected, actual = tf.convert_to_tensor(expected), tf.convert_to_tensor(actual)
        np.testing.assert_allclose(
            actual, expected, rtol=0.0, atol=1e-5 * np.abs(expected).max() + 1e-7)


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("source", ["proposals", "ground_truth"])
@pytest.mark.parametrize("head", ["conv", "hourglass"])
def test_the_training_step_compiles(head: str, source: str) -> None:
    """XLA compiles the whole step, which stands in for a TPU, and the losses agree.

    All 50 proposals and 6 ground-truth boxes are taken: a proposal that rounding moves to another
    place in the list would change a draw.
    """
    model, data = build_model(
        mask_head=HEADS[head](**({"depth": 20} if head == "hourglass" else {})),
        mask_boxes=SOURCES[source](), region_sampler=RegionSampler(num_samples=56)), batch()
    step(model, data)
    tiny_model.randomise(model.variables, seed=2)
    weights = model.get_weights()

    def losses_and_gradients(*tensors: Any) -> tuple:
        result = step(model, Batch(*tensors))
        return result.losses, result.gradients

    expected, _ = losses_and_gradients(*data)
    model.set_weights(weights)
    actual, gradients = tf.function(losses_and_gradients, jit_compile=True)(*data)
    for name, loss in expected.items():
        assert float(loss) == pytest.approx(float(actual[name]), rel=5e-3), name
    assert all(np.isfinite(g.numpy()).all() for g in gradients)
    kernels = [g for g in gradients if len(g.shape) > 1]
    assert all(g.numpy().any() for g in kernels)


@pytest.mark.parametrize("image_size", [(64, 80), (48, 64)])
def test_an_image_size_that_cannot_be_halved_is_refused(image_size: tuple[int, int]) -> None:
    """The message names the size, the pyramid's coarsest level and the multiple."""
    with pytest.raises(
        UserError, match=r"MaskRCNN\.image_size = \(\d\d, \d\d\) does not suit a pyramid up to "
                         r"level 5: use multiples of 32\."
    ):
        build_model(image_size=image_size)
