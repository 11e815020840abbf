"""Stored matches and AP on samples of images, against pycocotools."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.matches import Matches, RankedMatches, match_detections
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps
from tests.evaluation.metrics.test_average_precision import dataset, detected, per_class_ap, square
from tests.helpers import coco_tiny
from tests.helpers.noisy_detections import noisy_detections, oracle

# pycocotools 2.0 decodes masks in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TASKS = ("mask", "box")


def match(annotations, detections, image_ids, task):
    ground_truth = GroundTruth.from_coco(annotations, image_ids)
    return match_detections(Overlaps(ground_truth, detections), task)


def random_data(seed, images=6):
    """Return annotations, some of crowds or without mask, and detections of which many tie."""
    rng = np.random.default_rng(seed)
    annotations = []
    for number in range(1, int(rng.integers(4, 30))):
        side = int(rng.choice([12, 32, 60]))
        at = (int(rng.integers(0, 60)), int(rng.integers(0, 40)))
        where = int(rng.integers(1, images)), int(rng.integers(1, 4))
        annotations.append(square(number, *where, at, side, iscrowd=int(rng.random() < 0.2)))
    truth = dataset(*annotations, images=images, classes=5)
    detections = noisy_detections(truth, seed)
    for annotation in annotations:
        if rng.random() < 0.1 and not annotation["iscrowd"]:
            annotation["segmentation"] = []
    return truth, detections


def without_ties(detections, seed):
    """Return detections with scores of which no two are equal."""
    scores = np.random.default_rng(seed).permutation(len(detections)) / len(detections)
    return [d | {"score": float(s)} for d, s in zip(detections, scores, strict=True)]


def repeated(truth, detections, weights):
    """Return a dataset in which each image, and all on it, is there that many times."""
    copies = [
        (image, 100 * image["id"] + number)
        for image, times in zip(truth["images"], weights, strict=True) for number in range(times)]
    annotations = [
        a | {"image_id": new} for image, new in copies for a in truth["annotations"]
        if a["image_id"] == image["id"]]
    return (
        truth | {
            "images": [image | {"id": new} for image, new in copies],
            "annotations": [a | {"id": n} for n, a in enumerate(annotations, start=1)]},
        [d | {"image_id": new} for image, new in copies for d in detections
         if d["image_id"] == image["id"]])


def assert_ap(expected, matches, weights=None):
    np.testing.assert_allclose(
        RankedMatches(matches).average_precision(weights), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(12))
def test_ap_from_matches_is_the_ap(seed, task):
    """With crowds, ties, boxes without mask and classes without instances: equal to 1e-9."""
    truth, detections = random_data(seed)
    expected = per_class_ap(truth, detections, range(1, 7), task)[f"{task}_ap"]
    assert np.isnan(expected[5])
    assert_ap(expected, match(truth, detections, range(1, 7), task))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_ap_from_matches_is_the_ap_on_real_annotations(task):
    """80 classes, more than 100 detections of one class in an image, images that do not count."""
    annotations = coco_tiny.instances("instances_val")
    detections = noisy_detections(annotations)
    scored = [image["id"] for image in annotations["images"]][::2]
    matches = match(annotations, detections, scored, task)
    assert_ap(per_class_ap(annotations, detections, scored, task)[f"{task}_ap"], matches)
    assert max(np.bincount(matches.image * 80 + matches.category)) == 100


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(8))
def test_weights_are_images_that_are_there_more_than_once(seed, task):
    """A resample has the AP that pycocotools finds where images are duplicated or left out."""
    truth, detections = random_data(seed)
    # What has no mask is pycocotools' to judge by its own rules; tested above.
    for annotation in truth["annotations"]:
        annotation["segmentation"] = annotation["segmentation"] or square(0)["segmentation"]
    detections = without_ties(detections, seed)
    weights = np.random.default_rng(seed).multinomial(6, np.full(6, 1 / 6))
    more_truth, more_detections = repeated(truth, detections, weights)
    image_ids = [image["id"] for image in more_truth["images"]]
    expected = [
        oracle(more_truth, more_detections, image_ids, [class_id], task)[f"{task}_ap"]
        for class_id in range(1, 6)]
    assert np.nanmax(expected) > 0
    assert_ap(expected, match(truth, detections, range(1, 7), task), weights)


def test_a_find_counts_as_often_as_its_image():
    """By hand: one find and one miss, below a false detection; the find's image is there twice.

    The false one is on the image of the miss: recall 2/3 at precision 2/3, so AP 67/101 x 2/3.
    """
    truth = dataset(square(1), square(2, image_id=2))
    detections = [
        detected(square(1), 0.5), detected(square(3, image_id=2, at=(60, 50)), score=0.9)]
    ranked = RankedMatches(match(truth, detections, [1, 2], "mask"))
    np.testing.assert_allclose(
        ranked.average_precision(np.array([2, 1])), [67 / 101 * 2 / 3, np.nan, np.nan])
    np.testing.assert_allclose(ranked.average_precision(np.array([1, 0])), [1, np.nan, np.nan])
    np.testing.assert_allclose(ranked.average_precision(np.array([0, 1])), [0, np.nan, np.nan])
    np.testing.assert_allclose(ranked.average_precision(np.array([0, 0])), [np.nan] * 3)


def test_no_detections_is_zero():
    """A missed class scores 0; a class without instances has no score."""
    assert_ap([0, np.nan, np.nan], match(dataset(square(1)), [], [1, 2], "box"))


@pytest.mark.parametrize("found", [True, False])
def test_matches_are_stored_and_read_back(found):
    """Every field, its type and the AP survive; equal matches give equal files."""
    truth, detections = random_data(3)
    matches = match(truth, detections if found else [], range(1, 7), "mask")
    read = Matches.from_bytes(matches.to_bytes(), "here")
    assert matches.to_bytes() == read.to_bytes()
    for field in dataclasses.fields(Matches):
        expected, actual = getattr(matches, field.name), getattr(read, field.name)
        np.testing.assert_array_equal(expected, actual)
        assert expected.dtype == actual.dtype, field.name


def test_scores_keep_their_precision():
    """A detector's scores take four bytes; scores that float32 would change take eight."""
    truth = dataset(square(1))
    for score, dtype in ((float(np.float32(0.3)), np.float32), (0.3, np.float64)):
        matches = match(truth, [detected(square(1), score)], [1], "box")
        assert (dtype, score) == (matches.scores.dtype, float(matches.scores[0]))


@pytest.mark.parametrize("cut", [0, 10, 400, "text"])
def test_a_broken_file_is_named(cut):
    """A truncated or foreign file is named by its path."""
    content = match(dataset(square(1)), [detected(square(1))], [1], "mask").to_bytes()
    broken = b"iou,area\n1,2\n" if cut == "text" else content[:cut]
    with pytest.raises(UserError, match=r"^W/matches/box.npz is broken: it does not hold matches"):
        Matches.from_bytes(broken, "W/matches/box.npz")


def test_nothing_is_printed(capfd):
    """The library's progress messages are hidden."""
    match(dataset(square(1)), [detected(square(1))], [1], "mask")
    assert ("", "") == tuple(capfd.readouterr())
