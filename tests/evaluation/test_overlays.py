"""Predictions drawn beside annotations, for a few images that are the same for every trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation import overlays
from deepmac_ablate.evaluation.evaluator import Evaluation
from deepmac_ablate.evaluation.metrics.ground_truth import load_annotations

# Class 1 is seen, class 2 novel; image 30 shows a crowd only, image 40 nothing.
TRUTH = {
    "images": [{"id": i} for i in (10, 20, 30, 40, 50)],
    "annotations": [
        {"image_id": 10, "category_id": 1},
        {"image_id": 20, "category_id": 2},
        {"image_id": 30, "category_id": 2, "iscrowd": 1},
        {"image_id": 50, "category_id": 2},
    ],
}
ROLES = {1: "seen", 2: "novel"}


def test_images_with_novel_objects_come_first():
    """The two of them are chosen before any other, and then the others."""
    assert {20, 50} == set(overlays.choose(TRUTH, ROLES, 2))
    chosen = overlays.choose(TRUTH, ROLES, 99)
    assert [10, 20, 30, 40, 50] == sorted(chosen)
    assert {20, 50} == set(chosen[:2])
    assert [] == overlays.choose(TRUTH, ROLES, 0)


def test_the_choice_is_the_same_for_every_arm():
    """It depends on the annotations alone, not on their order, and more images keep the first."""
    turned = {name: rows[::-1] for name, rows in TRUTH.items()}
    chosen = overlays.choose(TRUTH, ROLES, 5)
    assert chosen == overlays.choose(turned, ROLES, 5)
    assert chosen[:3] == overlays.choose(TRUTH, ROLES, 3)


@pytest.fixture(scope="module")
def data(tiny_recipe):
    """Seven images of 64 x 64 pixels."""
    return EvaluationData(str(tiny_recipe.data / "val"))


def result(image_id, score, category_id=1):
    mask = np.zeros((64, 64), np.uint8, order="F")
    mask[8:40, 8:40] = 1
    return {"image_id": image_id, "category_id": category_id, "score": score,
            "bbox": [8, 8, 32, 32], "segmentation": rle.encode(mask)}


def test_each_source_has_its_column(data):
    """Annotations, then the sources; what scores below 0.3 is not shown, nor are other images."""
    chosen, = overlays.draw(data, {"detections": []}, None, 1)
    drawn = {}
    for name, results in {
        "none": [], "low": [result(chosen, 0.29)], "high": [result(chosen, 0.31)],
        "other": [result(-1, 0.9)],
    }.items():
        drawn[name] = np.asarray(overlays.draw(data, {"detections": results}, None, 1)[chosen])
    np.testing.assert_array_equal(drawn["none"], drawn["low"])
    np.testing.assert_array_equal(drawn["none"], drawn["other"])
    changed = np.flatnonzero((drawn["none"] != drawn["high"]).any(axis=(0, 2)))
    width = drawn["none"].shape[1]
    assert changed.min() > width / 2
    three = overlays.draw(data, {"detections": [], "groundtruth": []}, None, 1)[chosen]
    assert three.width == pytest.approx(1.5 * width, abs=8)


def test_novel_classes_are_told_apart(data):
    """The same mask looks another way where its class is novel."""
    chosen, = overlays.draw(data, {}, [], 1)
    found = {"detections": [result(chosen, 0.9)]}
    seen, novel = (overlays.draw(data, found, split, 7)[chosen] for split in ([1], []))
    assert np.any(np.asarray(seen) != np.asarray(novel))


def test_a_negative_number_of_overlays_is_refused(data):
    """The message names the parameter and the value."""
    with pytest.raises(UserError, match=r"Evaluation\.overlays = -1 makes no sense"):
        Evaluation(data, overlays=-1)


@pytest.mark.slow
def test_a_trial_leaves_overlays(finished):
    """Four pictures of images with novel objects, each with annotations and both sources."""
    folder = Path(finished.workdir.path) / "overlays"
    truth = load_annotations(finished.recipe.data / "val-annotations.json")
    paths = sorted(folder.glob("*"))
    assert 4 == len(paths)
    assert {int(path.stem) for path in paths} <= {image["id"] for image in truth["images"]}
    for path in paths:
        with Image.open(path) as picture:
            assert picture.width >= 3 * 320
    assert (folder.parent / "result.json").stat().st_mtime_ns > max(
        path.stat().st_mtime_ns for path in paths)
