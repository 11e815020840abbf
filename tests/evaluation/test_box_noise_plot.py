"""The plot of mask IoU over box noise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from deepmac_ablate.evaluation.box_noise_plot import plot_box_noise

RESULT = {
    "step": 50,
    "groundtruth/iou/seen": 0.8,
    "groundtruth/iou/novel": 0.7,
    "groundtruth/iou/all": 0.75,
    "jittered0.1/iou/seen": 0.7,
    "jittered0.1/iou/novel": 0.5,
    "jittered0.1/mask_ap/novel": 0.1,
}
SEEN, NOVEL = (0x1B, 0x4F, 0x8A), (0xE0, 0x7B, 0x39)


def pixels(result):
    with Image.open(io.BytesIO(plot_box_noise(result))) as picture:
        return np.array(picture.convert("RGB"))


def rows(picture, color):
    """The rows in which a colour is found."""
    return np.nonzero((picture == color).all(axis=-1).any(axis=1))[0]


def test_nothing_is_drawn_without_noise():
    """Ground-truth boxes without jitter give no plot."""
    scores = {"groundtruth/iou/seen": 0.8, "detections/mask_ap/seen": 0.3}
    assert plot_box_noise(scores) is None


def test_both_roles_are_drawn():
    """Each role has its colour, and lower values are lower in the plot."""
    picture = pixels(RESULT)
    assert rows(picture, SEEN).size > 0
    assert rows(picture, NOVEL).max() > rows(picture, SEEN).max()


@pytest.mark.parametrize(("absent", "color"), [("seen", SEEN), ("novel", NOVEL)])
def test_a_role_without_classes_has_no_curve(absent, color):
    """Undefined values are left out, and the other curve stays."""
    result = {name: None if name.endswith(absent) else v for name, v in RESULT.items()}
    picture = pixels(result)
    assert rows(picture, color).size == 0
    assert rows(picture, NOVEL if color == SEEN else SEEN).size > 0


def test_modes_have_panels():
    """A second mode makes the plot twice as wide."""
    both = {**RESULT, "jittered0.1-expand/iou/seen": 0.75}
    assert pixels(both).shape[1] == 2 * pixels(RESULT).shape[1]
