"""Noise on boxes against its definition, edge by edge."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from deepmac_ablate import box_jitter
from deepmac_ablate.box_jitter import Jitter
from deepmac_ablate.modeling import box_noise

SIZE = (100.0, 200.0)
# Height 20, width 40, far from the borders.
BOX = [40.0, 80.0, 60.0, 120.0]


def jitter_boxes(box, draws, ratio, mode, size=SIZE):
    return box_noise.jitter_boxes(
        tf.constant(box, tf.float64), tf.constant(draws, tf.float64), Jitter(ratio, mode), size
    ).numpy()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # Distances from the centre are 10 and 20; u is -0.5, 0, 0.25, 0.5 of the edges.
        ("default", [50 - 5, 100 - 20, 50 + 12.5, 100 + 30]),
        # u is 0, 0.25, 0.375, 0.5.
        ("expand", [50 - 10, 100 - 25, 50 + 13.75, 100 + 30]),
        # u is -0.5, -0.25, -0.125, 0.
        ("shrink", [50 - 5, 100 - 15, 50 + 8.75, 100 + 20]),
        # The first draw is the height's, the second the width's.
        ("expand_symmetric", [50 - 10, 100 - 25, 50 + 10, 100 + 25]),
        ("shrink_symmetric", [50 - 5, 100 - 15, 50 + 5, 100 + 15]),
        ("expand_symmetric_xy", [50 - 10, 100 - 20, 50 + 10, 100 + 20]),
        ("shrink_symmetric_xy", [50 - 5, 100 - 10, 50 + 5, 100 + 10]),
    ],
)
def test_edges_move_as_defined(mode, expected):
    """By hand for each mode: draws 0, 1/2, 3/4 and 1 at ratio 1/2."""
    np.testing.assert_allclose(jitter_boxes(BOX, [0.0, 0.5, 0.75, 1.0], 0.5, mode), expected)


@pytest.mark.parametrize("mode", box_jitter.MODES)
def test_boxes_stay_valid(mode):
    """Inside the image, of positive area, in the promised direction; symmetric ones centred."""
    rng = np.random.default_rng(0)
    ratio = 0.95
    low = rng.uniform([0, 0], [90, 180], (500, 2))
    high = low + rng.uniform(1e-2, 1.0, (500, 2)) * (np.array(SIZE) - low)
    boxes = np.concatenate([low, high], axis=1)
    boxes[::5, 0] = 0.0
    boxes[::7, 3] = SIZE[1]
    moved = jitter_boxes(boxes, rng.uniform(size=(500, 4)), ratio, mode)
    assert (moved[:, :2] >= 0).all()
    assert (moved[:, 2:] <= SIZE).all()
    before, after = boxes[:, 2:] - boxes[:, :2], moved[:, 2:] - moved[:, :2]
    assert (after > 0).all()
    assert (np.abs(moved - boxes) <= np.tile(before * ratio / 2, 2) + 1e-9).all()
    if mode.startswith("expand"):
        assert (after >= before - 1e-9).all()
    if mode.startswith("shrink"):
        assert (after < before).all()
    if mode == "default":
        assert (after > before).any()
        assert (after < before).any()
    if "symmetric" in mode:
        np.testing.assert_allclose(moved[:, :2] + moved[:, 2:], boxes[:, :2] + boxes[:, 2:])
    if mode.endswith("_xy"):
        np.testing.assert_allclose(after[:, 0] / before[:, 0], after[:, 1] / before[:, 1])


def test_symmetric_growth_ends_at_the_nearest_border():
    """One pixel from the upper border a box grows by one pixel on both sides, no more."""
    box = [1.0, 80.0, 21.0, 120.0]
    moved = jitter_boxes(box, [1.0] * 4, 0.5, "expand_symmetric")
    np.testing.assert_allclose(moved, [0.0, 70.0, 22.0, 130.0])
    # Both sides by the factor of the height, 11 / 10.
    moved = jitter_boxes(box, [1.0] * 4, 0.5, "expand_symmetric_xy")
    np.testing.assert_allclose(moved, [0.0, 78.0, 22.0, 122.0])


@pytest.mark.parametrize("mode", box_jitter.MODES)
def test_without_ratio_nothing_moves(mode):
    """Ratio 0 moves nothing."""
    np.testing.assert_array_equal(jitter_boxes(BOX, [0.1, 0.9, 0.4, 0.6], 0.0, mode), BOX)


@pytest.mark.parametrize("mode", box_jitter.MODES)
def test_it_compiles(mode):
    """XLA gives the same boxes, in float32 and batches, as training has them."""
    boxes = tf.constant([[BOX, [0.0, 0.0, 3.0, 5.0]]], tf.float32)
    draws = tf.random.stateless_uniform(boxes.shape, [1, 2])
    plain = tf.function(lambda *x: box_noise.jitter_boxes(*x, Jitter(0.3, mode), (100, 200)))
    compiled = tf.function(plain, jit_compile=True)
    np.testing.assert_allclose(plain(boxes, draws), compiled(boxes, draws), rtol=1e-6)


def test_draws_of_annotations_are_fixed_for_ever():
    """They are functions of seed and id only; a change of these numbers changes every result."""
    expected = [0.97860, 0.11783, 0.30878, 0.67119]
    np.testing.assert_allclose(box_noise.annotation_draws(0, 139), expected, atol=1e-5)


def test_draws_of_annotations_are_uniform_and_differ():
    """2,000 ids and two seeds: all different, evenly spread, large and negative ids included."""
    draws = np.array([box_noise.annotation_draws(seed, i)
                      for seed in (0, 1) for i in (*range(999), 900100524288)])
    assert draws.size == len(np.unique(draws))
    np.testing.assert_allclose(draws.mean(axis=0), 0.5, atol=0.03)
    np.testing.assert_allclose(draws.std(axis=0), 12**-0.5, atol=0.02)
    assert (draws >= 0).all()
    assert (draws < 1).all()
    assert box_noise.annotation_draws(3, -1).shape == (4,)
