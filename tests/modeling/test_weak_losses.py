"""Weak losses against a reading of their formulas in numpy, and what they do to a training step."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate.data.shapes import generate
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import mask_slots, weak_losses
from deepmac_ablate.modeling.box_sources import GroundTruth, MaskBoxes
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.mask_slots import MaskSlots
from deepmac_ablate.modeling.normalization import GroupNorm
from deepmac_ablate.modeling.weak_losses import ColourAffinityLoss, ProjectionLoss
from deepmac_ablate.training.run import run_trial
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.helpers import tiny_model

SIZE = 7


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-values))


@pytest.fixture
def outputs() -> dict[str, Any]:
    """Outputs for five slots: three without a mask, one with, and an empty one."""
    rng = np.random.default_rng(5)
    boxes = np.array([[0, 0, 14, 14], [5, 3, 19, 31], [2, 2, 9, 9], [0, 0, 7, 7], [0, 0, 0, 0]])
    gt_boxes = np.array([[2, 4, 12, 11], [5, 3, 19, 31], [4, 0, 20, 6], [0, 0, 7, 7], [0] * 4])
    slots = MaskSlots(
        boxes=tf.constant(boxes, tf.float32), classes=tf.ones(5), image_index=tf.zeros(5, tf.int32),
        gt_boxes=tf.constant(gt_boxes, tf.float32), gt_masks=tf.zeros([5, 2, 2]),
        valid=tf.constant([True] * 4 + [False]),
        has_mask=tf.constant([False] * 3 + [True, False]), offered=tf.constant(4.0),
        dropped=tf.constant(0.0))
    # Few steps of colour, so that a third of the pairs are similar.
    colours = rng.integers(0, 3, (5, SIZE, SIZE, 3)) * 1.5
    return {
        "mask_outputs": tf.constant(rng.normal(0, 2, (5, SIZE, SIZE)), tf.float32),
        "mask_slots": slots, "mask_colours": tf.constant(colours, tf.float32),
        "step": tf.constant(30, tf.int64)}


def boxes_by_hand(outputs: dict[str, Any]) -> np.ndarray:
    """Cells of the grid whose centre lies in the ground-truth box, one by one."""
    slots = outputs["mask_slots"]
    found = np.zeros((5, SIZE, SIZE))
    for n in range(5):
        (top, left, bottom, right), (y0, x0, y1, x1) = (
            each[n].numpy() for each in (slots.boxes, slots.gt_boxes))
        for i in range(SIZE):
            for j in range(SIZE):
                y = top + (i + 0.5) / SIZE * (bottom - top)
                x = left + (j + 0.5) / SIZE * (right - left)
                found[n, i, j] = y0 <= y <= y1 and x0 <= x <= x1
    return found


def test_boxes_are_masks_on_the_grid(outputs) -> None:
    """Cells count by their centres; a box beyond the slot's is cut off."""
    found = weak_losses.box_masks(outputs["mask_slots"], SIZE)
    np.testing.assert_array_equal(boxes_by_hand(outputs)[:4], found[:4])
    assert 0 < found[0].numpy().sum() < SIZE**2 == found[1].numpy().sum()


def test_projection_is_dice_of_maxima(outputs) -> None:
    """BoxInst's equations 1 and 2, for the objects without a mask alone."""
    masks = sigmoid(outputs["mask_outputs"].numpy().astype(float))
    total = 0.0
    for mask, box in list(zip(masks, boxes_by_hand(outputs), strict=True))[:3]:
        for axis in (0, 1):
            p, t = mask.max(axis=axis), box.max(axis=axis)
            total += 1 - 2 * (p * t).sum() / ((p**2).sum() + (t**2).sum() + 1e-5)
    loss = float(ProjectionLoss()(outputs, {}))
    assert loss == pytest.approx(total / 3.01, rel=1e-5)


@pytest.mark.parametrize("dilations", [(2,), (1, 2), (3,)])
def test_colour_affinity_is_that_of_each_cell_and_its_neighbours(outputs, dilations) -> None:
    """BoxInst's equations 4 to 8: eight neighbours of each cell in the box, if they are similar."""
    masks = sigmoid(outputs["mask_outputs"].numpy().astype(float))
    colours, boxes = outputs["mask_colours"].numpy().astype(float), boxes_by_hand(outputs)
    total = count = 0.0
    for n in range(3):
        for distance in dilations:
            for i, j in np.argwhere(boxes[n]):
                for di, dj in itertools.product((-1, 0, 1), repeat=2):
                    y, x = i + di * distance, j + dj * distance
                    if di == dj == 0 or not (0 <= y < SIZE and 0 <= x < SIZE):
                        continue
                    difference = np.linalg.norm(colours[n, i, j] - colours[n, y, x])
                    if np.exp(-difference / 2) >= 0.3:
                        p, q = masks[n, i, j], masks[n, y, x]
                        total -= np.log(p * q + (1 - p) * (1 - q))
                        count += 1
    assert count > 50
    loss = float(ColourAffinityLoss(dilations=dilations, warm_up_steps=0)(outputs, {}))
    assert loss == pytest.approx(total / (count + 0.01), rel=1e-5)


def test_the_loss_grows_with_the_step_at_first(outputs) -> None:
    """At step 30 of 120, a quarter of it; afterwards all of it."""
    whole = float(ColourAffinityLoss(warm_up_steps=0)(outputs, {}))
    early = float(ColourAffinityLoss(warm_up_steps=120)(outputs, {}))
    late = float(ColourAffinityLoss(warm_up_steps=30)(outputs, {}))
    assert (0.25 * whole, whole) == (pytest.approx(early), pytest.approx(late))


def test_a_threshold_of_one_leaves_equal_colours(outputs) -> None:
    """The fewer pairs are similar, the fewer count."""
    colours = outputs["mask_colours"]
    equal = float(ColourAffinityLoss(threshold=1.0, warm_up_steps=0)(outputs, {}))
    grey = float(ColourAffinityLoss(threshold=1.0, warm_up_steps=0)(
        {**outputs, "mask_colours": tf.zeros_like(colours)}, {}))
    every = float(ColourAffinityLoss(threshold=0.0, warm_up_steps=0)(outputs, {}))
    assert grey == pytest.approx(every) != pytest.approx(equal)


@pytest.mark.parametrize("loss", [ProjectionLoss(), ColourAffinityLoss(warm_up_steps=0)])
def test_gradients_are_finite_differences(outputs, loss) -> None:
    """For cells of objects without a mask; other slots have no gradient."""
    logits = tf.Variable(outputs["mask_outputs"])
    with tf.GradientTape() as tape:
        value = loss({**outputs, "mask_outputs": tf.convert_to_tensor(logits)}, {})
    gradient = tape.gradient(value, logits).numpy()
    assert (gradient[3:] == 0).all()
    for place in [(0, 3, 3), (1, 2, 5), (2, 4, 1), (0, 0, 0), (1, 6, 6)]:
        shifted = []
        for step in (0.01, -0.01):
            changed = outputs["mask_outputs"].numpy()
            changed[place] += step
            shifted.append(float(loss({**outputs, "mask_outputs": tf.constant(changed)}, {})))
        assert (shifted[0] - shifted[1]) / 0.02 == pytest.approx(gradient[place], abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [ProjectionLoss(), ColourAffinityLoss(warm_up_steps=100)])
def test_xla_computes_the_same(outputs, loss) -> None:
    """As TPUs need."""
    slots = outputs.pop("mask_slots")
    compiled = tf.function(
        lambda slots, rest: loss({"mask_slots": slots, **rest}, {}), jit_compile=True)
    assert float(compiled(slots, outputs)) == pytest.approx(
        float(loss({"mask_slots": slots, **outputs}, {})), rel=1e-5)


def test_colours_are_those_of_opencv() -> None:
    """Its conversion of float32 sRGB to CIELAB, for colours all over the cube."""
    rgb = np.random.default_rng(0).random((50, 60, 3)).astype(np.float32)
    rgb[0, :4] = [[0, 0, 0], [1, 1, 1], [0.02, 0.01, 0.03], [1, 0, 0]]
    # OpenCV interpolates in tables.
    np.testing.assert_allclose(
        weak_losses.rgb_to_lab(tf.constant(rgb)), cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), atol=0.4)


def test_colours_are_cropped_where_the_box_is() -> None:
    """A box on the red part of a picture, half of it beyond the edge to green."""
    image = np.zeros((1, 32, 32, 3), np.float32)
    image[:, :, :16, 0], image[:, :, 16:, 1] = 1.0, 1.0
    normalised = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    crops = weak_losses.crop_colours(
        tf.constant(normalised, tf.float32), tf.constant([[8.0, 8, 24, 24]]), tf.zeros(1, tf.int32),
        8).numpy()[0]
    red, green = (
        cv2.cvtColor(np.array([[c]], np.float32), cv2.COLOR_RGB2LAB)[0, 0]
        for c in ([1, 0, 0], [0, 1, 0]))
    np.testing.assert_allclose(crops[:, :3], np.broadcast_to(red, (8, 3, 3)), atol=0.1)
    np.testing.assert_allclose(crops[:, 5:], np.broadcast_to(green, (8, 3, 3)), atol=0.1)


def test_only_boxes_without_a_mask_are_enlarged() -> None:
    """They become valid; edges move outwards, by at most half of the side, inside the image."""
    truth = GroundTruth(
        boxes=tf.constant([[[10.0, 10, 20, 30], [0, 40, 20, 60], [-1] * 4, [30, 30, 50, 50]]]),
        classes=tf.constant([[1, 2, -1, 3]]), masks=tf.zeros([1, 4, 2, 2]),
        has_mask=tf.constant([[True, False, False, False]]))
    offered = MaskBoxes(
        truth.boxes, truth.classes, tf.range(4)[tf.newaxis], (truth.classes > 0) & truth.has_mask)
    found = mask_slots.add_box_only(offered, truth, 1.0, (64, 64), tf.constant([[3, 4]]))
    assert [True, True, False, True] == found.valid[0].numpy().tolist()
    boxes = found.boxes[0].numpy()
    np.testing.assert_array_equal(boxes[[0, 2]], truth.boxes[0].numpy()[[0, 2]])
    assert boxes[1, 0] == 0.0
    assert (boxes[3, :2] < 30).all()
    assert (boxes[3, :2] >= 20).all()
    assert (boxes[3, 2:] > 50).all()
    assert (boxes[3, 2:] <= 60).all()


@pytest.mark.slow
def test_packed_equals_padded() -> None:
    """With a slot for every object, packing changes neither the losses nor what is dropped."""
    losses = []
    for padded in (False, True):
        model = tiny_model.build_model(
            pad_to_all_slots=padded, mask_head=tiny_model.conv_head(norm=GroupNorm(4)))
        model.box_only_context = 1.0
        data = tiny_model.batch()
        model(*data, seed=tiny_model.SEED, training=True)
        tiny_model.randomise(model.variables, seed=2)
        outputs = model(*data, seed=tiny_model.SEED, training=True)
        losses.append(Losses(further_losses=[
            ProjectionLoss(), ColourAffinityLoss(warm_up_steps=0)])(
            outputs, data.labels, []))
        slots = outputs["mask_slots"]
        objects = int((data.labels["gt_classes"].numpy() > 0).sum())
        assert (objects, 0.0) == (int(slots.valid.numpy().sum()), float(slots.dropped))
        assert 0 < int(slots.has_mask.numpy().sum()) < objects
    for name in ("mask_loss", "projection_loss", "colour_affinity_loss"):
        assert float(losses[0][name]) == pytest.approx(float(losses[1][name]), rel=1e-4), name
        assert float(losses[0][name]) > 0


def test_settings_without_a_weak_loss_are_refused() -> None:
    """The context has an effect with weak losses alone, which switch it on."""
    with pytest.raises(UserError) as raised:
        Losses(box_only_context=0.5)
    assert "Losses.box_only_context = 0.5 has no effect without a weak loss" in str(raised.value)
    assert Losses().box_only_context is None
    assert Losses(further_losses=[ProjectionLoss()]).box_only_context == 1.0
    assert Losses(further_losses=[ProjectionLoss()], box_only_context=0.5).box_only_context == 0.5


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow")
def test_boxes_alone_teach_shapes(tmp_path) -> None:
    """Without a single mask, masks are better than any that a box alone can give."""
    data = generate.generate_dataset(tmp_path / "data")
    trial = Trial(
        ("gin/experiments/shapes_masks.gin", "gin/class_splits/none.gin",
         "gin/weak_losses/projection_and_colour.gin"),
        (f"TRAIN = '{tmp_path}/data/train'", f"VAL = '{tmp_path}/data/val'",
         f"DATASET = '{data.train.info.identity}'", "Evaluation.box_sources = ['groundtruth']"),
        0, "boxes")
    result = run_trial(trial, TrialWorkdir(tmp_path / "run"))
    iou, ellipse, filled = (result[f"groundtruth/{name}/all"] for name in (
        "iou", "iou_ellipse", "iou_filled_box"))
    assert filled < ellipse < iou - 0.03
