"""AP by class and over groups of classes, against pycocotools."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as rle

from deepmac_ablate import class_splits
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics import average_precision
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps
from tests.helpers import coco_tiny
from tests.helpers.noisy_detections import noisy_detections, oracle

# pycocotools 2.0 decodes masks in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

GROUPS = {
    "all": sorted(class_splits.COCO),
    "voc": sorted(class_splits.VOC),
    "nonvoc": sorted(class_splits.NON_VOC),
    "person": [1],
    "bottle and chair": [44, 62],
}


def square(number, image_id=1, class_id=1, at=(10, 10), side=40, **fields):
    """Return a square annotation."""
    x, y = at
    corners = [x, y, x + side, y, x + side, y + side, x, y + side]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": class_id,
        "bbox": [x, y, side, side],
        "area": side**2,
        "iscrowd": 0,
        "segmentation": [corners],
        **fields,
    }


def dataset(*annotations, images=2, classes=3):
    """Return annotations on images of 120 x 100 pixels."""
    return {
        "images": [{"id": i, "height": 100, "width": 120} for i in range(1, images + 1)],
        "categories": [{"id": i, "name": f"class {i}"} for i in range(1, classes + 1)],
        "annotations": list(annotations),
    }


def detected(annotation, score=1.0, **fields):
    """Return the detection that a perfect model makes of an annotation."""
    (polygon,) = annotation["segmentation"]
    return {
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "bbox": annotation["bbox"],
        "score": score,
        "segmentation": rle.frPyObjects([polygon], 100, 120)[0],
        **fields,
    }


def test_large_image_ids_are_exact():
    """Ids that are equal as float64 are different images."""
    ids = [2**53, 2**53 + 1, 2**63 - 1, -5]
    truth = dataset(*(square(i + 1, image_id) for i, image_id in enumerate(ids)), images=0)
    truth["images"] = [{"id": image_id, "height": 100, "width": 120} for image_id in ids]
    found = [detected(annotation) for annotation in truth["annotations"][:2]]
    table = per_class_ap(truth, found, ids, "mask")
    # At half the recall, 51 of 101 points have precision 1.
    assert table.loc[1, "mask_ap"] == pytest.approx(51 / 101)


def per_class_ap(annotations, detections, image_ids, task, *ratio):
    """Return the AP of every class over the scored images of a document."""
    ground_truth = GroundTruth.from_coco(annotations, image_ids)
    return average_precision.per_class_ap(Overlaps(ground_truth, detections, *ratio), task)


def assert_equal(expected, actual):
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, atol=1e-6, equal_nan=True, err_msg=name)


@pytest.fixture(scope="module")
def noisy():
    annotations = coco_tiny.instances("instances_val")
    detections = noisy_detections(annotations)
    image_ids = [image["id"] for image in annotations["images"]]
    return annotations, detections, image_ids


@pytest.fixture(scope="module")
def tables(noisy):
    return {
        task: per_class_ap(*noisy, task)
        for task in ("mask", "boundary", "box")}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "group"), [
    *itertools.product(["mask", "box"], GROUPS), ("boundary", "nonvoc"),
    *(pytest.param("boundary", group, marks=pytest.mark.extended) for group in ("all", "voc"))])
def test_means_equal_pycocotools_with_restricted_classes(noisy, tables, task, group):
    """For any group of classes the mean of rows is pycocotools' number for these classes.

    Boundary AP is that of pycocotools given IoUs of boundaries from OpenCV.
    """
    expected = oracle(*noisy, GROUPS[group], task)
    assert 0 < expected[f"{task}_ap"] < 1
    assert_equal(expected, average_precision.class_means(tables[task], GROUPS[group]))


def test_the_noisy_detections_have_the_faults_they_claim(noisy):
    """The comparison above sees ties, crowds, both kinds of counts and a full image."""
    annotations, detections, _ = noisy
    per_image_and_class = {}
    for d in detections:
        key = d["image_id"], d["category_id"]
        per_image_and_class[key] = per_image_and_class.get(key, 0) + 1
    assert max(per_image_and_class.values()) > 100
    assert {bytes, str} == {type(d["segmentation"]["counts"]) for d in detections}
    assert any(a["iscrowd"] for a in annotations["annotations"])
    assert len({d["score"] for d in detections}) == 11


@pytest.mark.parametrize("task", ["mask", "box"])
def test_images_that_were_not_scored_do_not_count(noisy, task):
    """Annotations and detections on other images do not change the numbers."""
    annotations, detections, image_ids = noisy
    scored = image_ids[::3]
    expected = oracle(annotations, detections, scored, GROUPS["voc"], task)
    table = per_class_ap(annotations, detections, scored, task)
    assert_equal(expected, average_precision.class_means(table, GROUPS["voc"]))
    on_scored = sum(a["image_id"] in scored for a in annotations["annotations"] if not a["iscrowd"])
    assert on_scored == table["instances"].sum()


@pytest.mark.parametrize("seed", range(12))
def test_small_random_datasets_equal_pycocotools(seed):
    """Every class and task agrees, with few classes, many ties, crowds and empty images."""
    rng = np.random.default_rng(seed)
    annotations = []
    for number in range(1, int(rng.integers(2, 25))):
        side = int(rng.choice([12, 32, 60]))
        at = (int(rng.integers(0, 60)), int(rng.integers(0, 40)))
        crowd = int(rng.random() < 0.25)
        where = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        annotations.append(square(number, *where, at, side, iscrowd=crowd))
    truth = dataset(*annotations, images=6, classes=4)
    detections = noisy_detections(truth, seed)
    for task in ("mask", "boundary", "box"):
        table = per_class_ap(truth, detections, range(1, 7), task)
        for class_ids in ([1], [2], [4], [1, 2, 3, 4]):
            expected = oracle(truth, detections, range(1, 7), class_ids, task)
            assert_equal(expected, average_precision.class_means(table, class_ids))


def test_boundaries_see_what_masks_hide():
    """A square of 60 that lacks 2 pixels all around: mask IoU (56 / 60)^2, boundary IoU by hand.

    On 120 x 100 pixels a boundary is 3 wide: rings of 60^2 - 54^2 and 56^2 - 50^2 pixels.
    """
    both = 56**2 - 54**2
    assert (60**2 - 54**2 + 56**2 - 50**2 - both) * 0.2 == both
    assert 0.85 < 56**2 / 60**2 < 0.9
    truth = dataset(square(1, side=60))
    detection = detected(square(1, at=(12, 12), side=56))
    boundary = per_class_ap(truth, [detection], [1], "boundary").loc[1]
    assert list(boundary.drop(["name", "instances", "boundary_ap_s", "boundary_ap_l"])) == [0] * 5
    assert per_class_ap(truth, [detection], [1], "mask").loc[1, "mask_ap"] == 0.8


def test_the_width_of_boundaries_can_be_chosen():
    """With boundaries as wide as the square, boundary AP is mask AP."""
    truth = dataset(square(1, side=60))
    detection = detected(square(1, at=(12, 12), side=56))
    table = per_class_ap(truth, [detection], [1], "boundary", 0.2)
    assert table.loc[1, "boundary_ap"] == 0.8


def test_instance_mean_weighs_instances():
    """Classes without instances do not count; without any instances, the mean is undefined."""
    table = pd.DataFrame({"instances": [3, 1, 0], "share": [0.5, 1.0, np.nan]}, index=[1, 2, 3])
    assert average_precision.instance_mean(table, [1, 2, 3], "share") == 2.5 / 4
    assert np.isnan(average_precision.instance_mean(table, [3], "share"))


def test_hand_calculated_ap():
    """One of two instances found, with one false positive above it: AP is 51/101 x 1/2."""
    found, missed = square(1), square(2, image_id=2)
    truth = dataset(found, missed)
    false = detected(square(3, at=(60, 50)), score=0.9)
    table = per_class_ap(truth, [detected(found, 0.8), false], [1, 2], "mask")
    row = table.loc[1]
    # Recall levels 0, 0.01, ..., 0.50 are reached, at precision 1/2, for every IoU threshold.
    assert pytest.approx(51 / 101 / 2) == row["mask_ap"]
    assert pytest.approx(51 / 101 / 2) == row["mask_ap_m"]
    assert row["mask_ar100"] == 0.5
    assert np.isnan(row["mask_ap_s"])
    assert [row["name"], row["instances"]] == ["class 1", 2]


def test_no_detections_is_zero_and_no_instances_is_undefined():
    """A missed class scores 0; a class without instances has no score."""
    truth = dataset(square(1), square(2, class_id=2, iscrowd=1))
    for task in ("mask", "box"):
        table = per_class_ap(truth, [], [1, 2], task)
        assert list(table["instances"]) == [1, 0, 0]
        np.testing.assert_equal(list(table[f"{task}_ap"]), [0, np.nan, np.nan])
        assert average_precision.class_means(table, [1, 2, 3])[f"{task}_ap"] == 0
        assert np.isnan(average_precision.class_means(table, [2, 3])[f"{task}_ap"])
        assert np.isnan(average_precision.class_means(table, [])[f"{task}_ar100"])


@pytest.mark.parametrize(
    "nothing", [None, [], {"size": [100, 120], "counts": [12000]}, "packed", "absent"]
)
def test_a_box_without_mask_is_neither_found_nor_missed_in_mask_ap(nothing):
    """By hand: 1 of 2 boxes found above a false one is box AP 51/101; the only mask, AP 1/2.

    The best detection lies on the box without mask: right for box AP, ignored for mask AP. The next
    is false in both, the last finds the mask.
    """
    masked, bare = square(1), square(2, at=(70, 50))
    if nothing == "packed":
        nothing = rle.encode(np.zeros((100, 120), np.uint8, order="F"))
    on_bare = detected(bare, score=0.9)
    false = detected(square(4, image_id=2), score=0.8)
    found = detected(masked, score=0.7)
    bare["segmentation"] = nothing
    if nothing == "absent":
        del bare["segmentation"]
    truth = dataset(masked, bare)

    for task in ("mask", "boundary"):
        row = per_class_ap(truth, [on_bare, false, found], [1, 2], task).loc[1]
        assert 1 == row["instances"]
        assert pytest.approx(0.5) == row[f"{task}_ap"]
        assert 1 == row[f"{task}_ar100"]
    box = per_class_ap(truth, [on_bare, false], [1, 2], "box").loc[1]
    assert 2 == box["instances"]
    assert pytest.approx(51 / 101) == box["box_ap"]


def test_a_class_without_masks_has_box_ap_but_no_mask_ap():
    """Undefined values are NaN, not 0, and do not change the means."""
    bare = square(2, class_id=2)
    detections = [detected(square(1)), detected(bare)]
    bare["segmentation"] = []
    truth = dataset(square(1), bare)
    mask = per_class_ap(truth, detections, [1], "mask")
    np.testing.assert_equal(list(mask["mask_ap"]), [1, np.nan, np.nan])
    assert 1 == average_precision.class_means(mask, [1, 2])["mask_ap"]
    box = per_class_ap(truth, detections, [1], "box")
    np.testing.assert_equal(list(box["box_ap"]), [1, 1, np.nan])


def test_a_mask_outside_the_boxes_without_mask_is_still_false():
    """A detection with 3/4 of its area in a box without mask is false from IoU 0.80 on."""
    masked, bare = square(1), square(2, at=(70, 50))
    aside = detected(square(3, at=(60, 50)), score=0.9)
    truth = dataset(masked, bare | {"segmentation": []})
    row = per_class_ap(truth, [aside, detected(masked, 0.5)], [1], "mask").loc[1]
    assert [1, 1] == [row["mask_ap50"], row["mask_ap75"]]
    assert pytest.approx((6 * 1 + 4 * 0.5) / 10) == row["mask_ap"]


def test_unmatched_masks_are_sized_by_the_mask():
    """A small false mask in a large box counts as small, as in a result file of masks."""
    small = square(1, side=20)
    truth = dataset(small)
    false = detected(square(2, at=(60, 50), side=20), bbox=[5.0, 5.0, 100.0, 90.0])
    table = per_class_ap(truth, [false, detected(small, 0.5)], [1], "mask")
    assert pytest.approx(0.5) == table.loc[1, "mask_ap_s"]


@pytest.mark.parametrize("numbers", [(0, 1), (7, 7)])
def test_annotation_ids_do_not_matter(numbers):
    """Id 0, which means 'unmatched' inside COCO's evaluation, and repeated ids cost no AP."""
    squares = [square(number, image_id) for image_id, number in enumerate(numbers, start=1)]
    table = per_class_ap(
        dataset(*squares), [detected(s) for s in squares], [1, 2], "mask"
    )
    assert [table.loc[1, "instances"], table.loc[1, "mask_ap"]] == [2, 1.0]


def test_inputs_are_not_modified_and_nothing_is_printed(noisy, capfd):
    """The library modifies its inputs and prints progress; the user sees neither."""
    annotations, detections, image_ids = noisy
    ground_truth = GroundTruth.from_coco(annotations, image_ids)
    before = copy.deepcopy((annotations, ground_truth.annotations, detections))
    for task in ("mask", "boundary"):
        average_precision.per_class_ap(Overlaps(ground_truth, detections), task)
    assert before == (annotations, ground_truth.annotations, detections)
    assert tuple(capfd.readouterr()) == ("", "")


def test_numpy_numbers_are_accepted():
    """Ids, scores and boxes may come straight from arrays."""
    detection = detected(square(1), image_id=np.int64(1), score=np.float32(0.3))
    detection |= {"category_id": np.int32(1), "bbox": np.array([10, 10, 40, 40], np.float32)}
    for task in ("mask", "box"):
        table = per_class_ap(
            dataset(square(1)), [detection], np.array([1, 2]), task)
        assert table.loc[1, f"{task}_ap"] == 1


def test_classes_that_the_dataset_lacks_do_not_count():
    """A detector with unused outputs (COCO has ten unused ids) is not punished for them."""
    stray = detected(square(1), category_id=12)
    table = per_class_ap(
        dataset(square(1)), [detected(square(1)), stray], [1], "box")
    assert list(table.index) == [1, 2, 3]
    assert table.loc[1, "box_ap"] == 1


@pytest.mark.parametrize(
    ("changes", "task", "message"),
    [
        ({"image_id": 99}, "box", "A detection is on image 99, which the ground truth lacks"),
        ({"score": float("nan")}, "mask", "detection on image 1 is not finite: score nan"),
        ({"bbox": [1, 2, float("inf"), 4]}, "box", r"not finite: score 1.0, box \[1.0, 2.0, inf"),
        (
            {"segmentation": {"size": [50, 60], "counts": b"n0"}},
            "mask",
            r"mask on image 1 has height and width \[50, 60\], but the image has \[100, 120\]",
        ),
    ],
)
def test_impossible_detections_are_refused(changes, task, message):
    """An invalid detection is an error that names the image, not a wrong number."""
    detection = detected(square(1)) | changes
    with pytest.raises(UserError, match=message):
        per_class_ap(dataset(square(1)), [detection], [1], task)


def test_every_image_once_passes():
    """The order of the images does not matter."""
    average_precision.check_every_image_once([1, 2, 3], [3, 1, 2])


@pytest.mark.parametrize(
    ("scored", "message"),
    [
        ([1, 2], r"the 10 images .* of 2 scored images: 8 not scored \(ids 3, 4, 5, 6, 7, \.\.\."),
        ([*range(1, 11), 4, 4, 5], r"13 scored images: 2 scored more than once \(ids 4, 5\)"),
        ([*range(1, 12)], r"1 not in the dataset \(ids 11\)"),
        ([*range(1, 10), 9], r"1 not scored \(ids 10\); 1 scored more than once \(ids 9\)"),
    ],
)
def test_every_image_once_names_the_fault(scored, message):
    """Missing, repeated and foreign images are counted, and the first few are named."""
    with pytest.raises(UserError, match=message):
        average_precision.check_every_image_once(range(1, 11), scored)
