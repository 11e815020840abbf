"""Class-agnostic AR, against pycocotools with `useCats = 0` and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as rle

from deepmac_ablate import class_splits
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics import agnostic_recall, average_precision
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps
from tests.evaluation.metrics.test_average_precision import dataset, detected, square
from tests.helpers import coco_tiny
from tests.helpers.noisy_detections import noisy_detections, oracle

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

METRIC = "mask_ar100_agnostic"


def per_class_recall(annotations, detections, image_ids):
    ground_truth = GroundTruth.from_coco(annotations, image_ids)
    return agnostic_recall.per_class_agnostic_recall(Overlaps(ground_truth, detections))


def recall(truth, detections, image_ids, class_ids):
    table = per_class_recall(truth, detections, image_ids)
    return average_precision.instance_mean(table, class_ids, METRIC)


@pytest.fixture(scope="module")
def real():
    annotations = coco_tiny.instances()
    detections = [d for seed in range(3) for d in noisy_detections(annotations, seed)]
    return annotations, detections, [image["id"] for image in annotations["images"]]


@pytest.mark.slow
def test_all_classes_together_equal_pycocotools_without_classes(real):
    """The numbers agree on real images with faulty detections, some with more than 100."""
    annotations, detections, image_ids = real
    expected = oracle(
        annotations, detections, image_ids, class_splits.COCO, "mask", use_classes=False)
    actual = recall(annotations, detections, image_ids, class_splits.COCO)
    assert pytest.approx(expected["mask_ar100"], abs=1e-6) == actual
    assert 0.1 < actual < 0.95


def test_images_that_were_not_scored_do_not_count(real):
    """On a third of the images, the numbers equal pycocotools' for these images."""
    annotations, detections, image_ids = real
    scored = image_ids[::3]
    expected = oracle(annotations, detections, scored, class_splits.COCO, "mask", use_classes=False)
    actual = recall(annotations, detections, scored, class_splits.COCO)
    assert pytest.approx(expected["mask_ar100"], abs=1e-6) == actual


@pytest.mark.parametrize("seed", range(12))
def test_small_random_datasets_equal_pycocotools(seed):
    """Crowds, ties of scores and of IoUs, and images without objects are handled alike."""
    rng = np.random.default_rng(seed)
    annotations = [
        square(number, int(rng.integers(1, 4)), int(rng.integers(1, 4)),
               (int(rng.integers(0, 60)), int(rng.integers(0, 40))),
               int(rng.choice([12, 32, 60])), iscrowd=int(rng.random() < 0.25))
        for number in range(1, 40)]
    truth = dataset(*annotations, images=5, classes=4)
    detections = [d for s in range(3) for d in noisy_detections(truth, 100 * seed + s)]
    expected = oracle(truth, detections, range(1, 6), range(1, 5), "mask", use_classes=False)
    actual = recall(truth, detections, range(1, 6), range(1, 5))
    assert pytest.approx(expected["mask_ar100"], abs=1e-6) == actual


def test_groups_by_hand():
    """A class's value is the share of its objects that are found, under any class.

    Of class 1, one of two objects is found, under another name, at IoU 30 / 40 = 0.75: at 6 of 10
    thresholds. The object of class 2 is found at all. Nothing is asked of class 3.
    """
    truth = dataset(square(1), square(2, at=(60, 50)), square(3, 2, class_id=2))
    wrong_name = detected(square(4))
    low = np.zeros((100, 120), np.uint8, order="F")
    low[10:40, 10:50] = 1
    wrong_name |= {"category_id": 3, "segmentation": rle.encode(low)}
    table = per_class_recall(
        truth, [wrong_name, detected(square(3, 2, class_id=2))], [1, 2])
    assert [2, 1, 0] == list(table["instances"])
    assert ["class 1", "class 2", "class 3"] == list(table["name"])
    np.testing.assert_allclose(table[METRIC], [0.6 / 2, 1.0, np.nan])
    assert pytest.approx((0.6 + 1) / 3) == average_precision.instance_mean(table, [1, 2, 3], METRIC)
    assert np.isnan(average_precision.instance_mean(table, [3], METRIC))


def test_one_detection_finds_one_object():
    """Two objects in one place need two detections, even if each is of the other's class."""
    truth = dataset(square(1), square(2, class_id=2))
    for number, expected in ((1, 0.5), (2, 1.0)):
        assert expected == recall(truth, [detected(square(9, class_id=3))] * number, [1], [1, 2])


def test_detections_of_seen_classes_use_up_the_hundred():
    """After 100 better detections of another class nothing finds the object."""
    seen, novel = square(1), square(2, class_id=2, at=(60, 50))
    truth = dataset(seen, novel)
    for number, expected in ((99, 1.0), (100, 0.0)):
        detections = [detected(seen)] * number + [detected(novel, score=0.5)]
        assert expected == recall(truth, detections, [1], [2])


def test_objects_without_a_mask_are_neither_found_nor_missed():
    """They do not count as instances, and take no detection from other objects."""
    masked, bare = square(1), square(2, at=(12, 10))
    on_bare = detected(bare)
    bare["segmentation"] = []
    table = per_class_recall(dataset(masked, bare), [on_bare], [1])
    assert 1 == table.loc[1, "instances"]
    # 38 of 42 columns: IoU 0.905, at 9 thresholds.
    assert pytest.approx(0.9) == table.loc[1, METRIC]


def test_nothing_found_and_nothing_to_find():
    """Without detections the value is 0; without objects it is undefined."""
    table = per_class_recall(dataset(square(1)), [], [1, 2])
    np.testing.assert_equal(list(table[METRIC]), [0.0, np.nan, np.nan])
    empty = per_class_recall(dataset(), [detected(square(1))], [1])
    assert empty[METRIC].isna().all()


def test_classes_that_the_dataset_lacks_do_not_count():
    """A detection of such a class finds nothing, as in pycocotools."""
    assert 0.0 == recall(dataset(square(1)), [detected(square(1), category_id=12)], [1], [1])


def test_impossible_detections_are_refused():
    """A detection on an unknown image is an error, as for AP."""
    with pytest.raises(UserError, match="A detection is on image 99"):
        recall(dataset(square(1)), [detected(square(1), image_id=99)], [1], [1])
