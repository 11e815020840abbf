"""Predictions drawn beside the ground truth, on a few images that are the same for every trial."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from deepmac_ablate.data.dataset_info import annotations_path
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.evaluation import overlays
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth, load_annotations
from tests.helpers.data_fixtures import square

# Class 1 is seen, class 2 novel; image 30 shows a crowd only, image 40 nothing.
TRUTH = {
    "images": [{"id": i, "height": 64, "width": 64} for i in (10, 20, 30, 40, 50)],
    "annotations": [
        square(1, 10, 2, 2, 8, category_id=1),
        square(2, 20, 2, 2, 8, category_id=2),
        square(3, 30, 2, 2, 8, category_id=2, iscrowd=1),
        square(4, 50, 2, 2, 8, category_id=2),
    ],
    "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
}
ROLES = {1: "seen", 2: "novel"}


def choose(annotations, count):
    return overlays.choose_images(GroundTruth.from_coco(annotations), ROLES, count)


def test_images_with_novel_objects_come_first():
    """The two images with novel objects are chosen before any other."""
    assert {20, 50} == set(choose(TRUTH, 2))
    chosen = choose(TRUTH, 99)
    assert [10, 20, 30, 40, 50] == sorted(chosen)
    assert {20, 50} == set(chosen[:2])
    assert [] == choose(TRUTH, 0)


def test_the_choice_is_the_same_for_every_arm():
    """The choice depends on the annotations alone, not on their order; a larger one extends it."""
    turned = {name: rows[::-1] for name, rows in TRUTH.items()}
    chosen = choose(TRUTH, 5)
    assert chosen == choose(turned, 5)
    assert chosen[:3] == choose(TRUTH, 3)


@pytest.fixture(scope="module")
def data(tiny_recipe):
    """Seven images of 64 x 64 pixels."""
    return EvaluationData(str(tiny_recipe.data / "val"))


@pytest.fixture(scope="module")
def draw(data):
    """Draw predictions on the seven images."""
    ground_truth = GroundTruth.load(annotations_path(data.prefix))
    return functools.partial(overlays.draw_overlays, data, ground_truth)


def result(image_id, score, category_id=1):
    mask = np.zeros((64, 64), np.uint8, order="F")
    mask[8:40, 8:40] = 1
    return {"image_id": image_id, "category_id": category_id, "score": score,
            "bbox": [8, 8, 32, 32], "segmentation": rle.encode(mask)}


def test_each_box_source_has_its_column(draw):
    """Annotations, detections, their outcomes, given boxes; scores below 0.3 are not drawn."""
    chosen, = draw({"detections": []}, None, 1)
    drawn = {}
    for name, results in {
        "none": [], "low": [result(chosen, 0.29)], "high": [result(chosen, 0.31)],
        "other": [result(-1, 0.9)],
    }.items():
        drawn[name] = np.asarray(draw({"detections": results}, None, 1)[chosen])
    np.testing.assert_array_equal(drawn["none"], drawn["low"])
    np.testing.assert_array_equal(drawn["none"], drawn["other"])
    changed = np.flatnonzero((drawn["none"] != drawn["high"]).any(axis=(0, 2)))
    width = drawn["none"].shape[1]
    assert changed.min() > width / 3
    four = draw({"detections": [], "groundtruth": []}, None, 1)[chosen]
    assert four.width == pytest.approx(4 / 3 * width, abs=8)


def detection(number, left, score, category_id=1, image_id=10):
    """Return a detection of 8 x 8 pixels at (left, 2), numbered to be told from others."""
    mask = np.zeros((64, 64), np.uint8, order="F")
    mask[2:10, left : left + 8] = 1
    return {"number": number, "image_id": image_id, "category_id": category_id, "score": score,
            "bbox": [left, 2, 8, 8], "segmentation": rle.encode(mask)}


def test_outcomes_by_hand():
    """At (2, 2), shifts by 2 and 3 columns have IoUs of 48/80 and 40/88: above and below 0.5.

    Only the best scored of several on one object is true, and only one of its class.
    """
    truth = GroundTruth.from_coco({**TRUTH, "annotations": [
        square(1, 10, 2, 2, 8, category_id=1),
        square(2, 10, 22, 2, 8, category_id=1),
        square(3, 10, 42, 2, 8, category_id=2),
        square(4, 20, 2, 2, 8, category_id=2, iscrowd=1),
        square(5, 20, 2, 2, 8, category_id=1, segmentation=[])]})
    expected = {
        "second on the object": (detection(0, 2, 0.4), "false"),
        "shifted by 2": (detection(1, 4, 0.9), "true"),
        "shifted by 3": (detection(2, 25, 0.9), "false"),
        "of another class": (detection(3, 42, 0.9, category_id=1), "false"),
        "on a crowd": (detection(4, 2, 0.9, category_id=2, image_id=20), None),
        "on an object without a mask": (detection(5, 2, 0.9, image_id=20), None),
        "where there is nothing": (detection(6, 2, 0.9, image_id=40), "false")}
    detections = [each for each, _ in expected.values()]
    for order in (detections, detections[::-1]):
        outcomes = overlays.judge_detections(truth, order)
        found = {each["number"]: outcome
                 for each, outcome in zip(order, outcomes.detections, strict=True)}
        assert {each["number"]: outcome for each, outcome in expected.values()} == found
        assert 1 in outcomes.found
        assert not {2, 3} & outcomes.found


def test_novel_classes_are_distinguishable(draw):
    """The same mask is drawn differently for a novel class."""
    chosen, = draw({}, [], 1)
    found = {"detections": [result(chosen, 0.9)]}
    seen, novel = (draw(found, split, 7)[chosen] for split in ([1], []))
    assert np.any(np.asarray(seen) != np.asarray(novel))


@pytest.mark.slow
def test_a_trial_leaves_overlays(finished):
    """There are four pictures of images with novel objects, with annotations and both sources."""
    folder = Path(finished.workdir.path) / "overlays"
    truth = load_annotations(finished.recipe.data / "val-annotations.json")
    paths = sorted(folder.glob("*"))
    assert 4 == len(paths)
    assert {int(path.stem) for path in paths} <= {image["id"] for image in truth["images"]}
    for path in paths:
        with Image.open(path) as picture:
            assert picture.width >= 4 * 320
    assert (folder.parent / "result.json").stat().st_mtime_ns > max(
        path.stat().st_mtime_ns for path in paths)
