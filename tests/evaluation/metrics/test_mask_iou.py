"""Masks predicted in ground-truth boxes: IoU by class, and as detections."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as rle

from deepmac_ablate import class_splits
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics import average_precision, mask_iou
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps
from tests.helpers import coco_tiny
from tests.helpers.noisy_detections import boundary, oracle, quiet_coco, shifted

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (50, 60)


def encode(mask):
    return rle.encode(np.asfortranarray(mask.astype(np.uint8)))


def rectangle(width, height=10):
    """Return a mask of `width` x `height` pixels in the upper left corner."""
    mask = np.zeros(SIZE, np.uint8)
    mask[:height, :width] = 1
    return mask


def annotation(number, width=10, class_id=1, **fields):
    mask = encode(rectangle(width))
    return {
        "id": number,
        "image_id": 1,
        "category_id": class_id,
        "bbox": [0, 0, width, 10],
        "area": 10 * width,
        "iscrowd": 0,
        "segmentation": mask,
        **fields,
    }


def dataset(*annotations):
    return {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in (1, 2)],
        "categories": [{"id": 2, "name": "two"}, {"id": 1, "name": "one"}],
        "annotations": list(annotations),
    }


@pytest.fixture(scope="module")
def predicted():
    """Real annotations, and a shifted mask for each (as an array and as RLE)."""
    annotations = coco_tiny.instances("instances_val")
    coco = quiet_coco(annotations)
    rng = np.random.default_rng(0)
    masks = {
        a["id"]: shifted(coco.annToMask(a), rng)
        for a in annotations["annotations"]
        if not a["iscrowd"]
    }
    image_ids = [image["id"] for image in annotations["images"]]
    return annotations, masks, {i: encode(mask) for i, mask in masks.items()}, image_ids


def brute_force(annotations, masks):
    """Return (class, area, IoU) of every mask, counted pixel by pixel."""
    coco = quiet_coco(annotations)
    rows = []
    for number, mask in masks.items():
        truth = coco.annToMask(coco.anns[number]).astype(bool)
        union = np.count_nonzero(truth | (mask > 0))
        iou = np.count_nonzero(truth & (mask > 0)) / union if union else 0.0
        rows.append((coco.anns[number]["category_id"], coco.anns[number]["area"], iou))
    return rows


def instance_ious(ground_truth, predictions, *ratio):
    detections = mask_iou.as_detections(ground_truth, predictions)
    judged = mask_iou.with_annotated_mask(ground_truth, detections)
    return mask_iou.instance_ious(Overlaps(ground_truth, judged, *ratio))


def per_class_iou(annotations, predictions, image_ids, *ratio):
    ground_truth = GroundTruth.from_coco(annotations, image_ids)
    instances = instance_ious(ground_truth, predictions, *ratio)
    return mask_iou.per_class_iou(ground_truth, instances)


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else np.nan


@pytest.mark.slow
def test_iou_equals_counted_pixels(predicted):
    """Every class, every size, and both means agree with masks as arrays."""
    annotations, masks, predictions, image_ids = predicted
    rows = brute_force(annotations, masks)
    table = per_class_iou(annotations, predictions, image_ids)
    sizes = {"iou": (0, 1e9), "iou_s": (0, 1024), "iou_m": (1024, 9216), "iou_l": (9216, 1e9)}
    for metric, (low, high) in sizes.items():
        expected = [
            mean(iou for c, area, iou in rows if c == class_id and low <= area <= high)
            for class_id in table.index
        ]
        np.testing.assert_allclose(table[metric], expected, atol=1e-9)
    novel = class_splits.NON_VOC
    expected = mean(mean(iou for c, _, iou in rows if c == class_id) for class_id in novel)
    assert pytest.approx(expected) == average_precision.class_means(table, novel)["iou"]
    expected = mean(iou for c, _, iou in rows if c in novel)
    assert pytest.approx(expected) == average_precision.instance_mean(table, novel, "iou")
    assert 0.5 < expected < 0.95


@pytest.mark.slow
def test_boundary_iou_equals_counted_pixels(predicted):
    """Boundaries eroded by OpenCV and counted pixel by pixel give the same means by class."""
    annotations, masks, predictions, image_ids = predicted
    coco = quiet_coco(annotations)
    rows = []
    for number, mask in masks.items():
        one, other = boundary(coco.annToMask(coco.anns[number])), boundary(mask.astype(np.uint8))
        iou = (one & other).sum() / (one | other).sum() if (one | other).any() else 0.0
        rows.append((coco.anns[number]["category_id"], iou))
    table = per_class_iou(annotations, predictions, image_ids)
    expected = [mean(iou for c, iou in rows if c == class_id) for class_id in table.index]
    np.testing.assert_allclose(table["boundary_iou"], expected, atol=1e-9)
    assert table["boundary_iou"].mean() < table["iou"].mean()


def test_the_width_of_boundaries_can_be_chosen():
    """By hand: of 10 x 10 pixels the left half is predicted; with wide boundaries that is IoU 1/2.

    On 60 x 50 pixels a boundary is 2 wide: rings of 100 - 36 and 50 - 6 pixels, which share the
    10 + 10 pixels of two rows each, and the 6 x 2 pixels at the left.
    """
    truth, predictions = dataset(annotation(1)), {1: encode(rectangle(5))}
    narrow, wide = (
        per_class_iou(truth, predictions, [1], *ratio).loc[1, "boundary_iou"]
        for ratio in ((), (0.2,)))
    shared = 2 * 10 + 6 * 2
    assert pytest.approx(shared / (64 + 44 - shared)) == narrow
    assert wide == 0.5


def test_images_that_were_not_scored_do_not_count(predicted):
    """Predictions on other images are allowed and change nothing."""
    annotations, masks, predictions, image_ids = predicted
    scored = set(image_ids[:20])
    ids = {a["id"] for a in annotations["annotations"] if a["image_id"] in scored}
    rows = brute_force(annotations, {i: mask for i, mask in masks.items() if i in ids})
    table = per_class_iou(annotations, predictions, image_ids[:20])
    assert len(rows) == table["instances"].sum()
    expected = mean(iou for _, _, iou in rows)
    assert pytest.approx(expected) == average_precision.instance_mean(table, table.index, "iou")


def test_class_mean_and_instance_mean_differ_as_by_hand():
    """Three instances of one class and one of another: (0.5 + 1) / 2, and 2.5 / 4."""
    truth = dataset(annotation(1), annotation(2), annotation(3), annotation(4, class_id=2))
    predictions = {1: encode(rectangle(5)), 2: encode(rectangle(10)), 3: encode(rectangle(0))}
    predictions[4] = encode(rectangle(10))
    table = per_class_iou(truth, predictions, [1])
    assert list(table["iou"]) == [0.5, 1.0]
    assert list(table["instances"]) == [3, 1]
    assert list(table["name"]) == ["one", "two"]
    assert average_precision.class_means(table, [1, 2])["iou"] == 0.75
    assert average_precision.instance_mean(table, [1, 2], "iou") == 2.5 / 4


def test_crowds_and_absent_classes_are_undefined():
    """A class with crowds only has no IoU, needs no prediction, and does not change the means."""
    truth = dataset(annotation(1), annotation(2, class_id=2, iscrowd=1))
    table = per_class_iou(truth, {1: encode(rectangle(5))}, [1, 2])
    np.testing.assert_equal(list(table["iou"]), [0.5, np.nan])
    assert average_precision.class_means(table, [1, 2])["iou"] == 0.5
    assert np.isnan(average_precision.instance_mean(table, [2], "iou"))
    assert average_precision.instance_mean(table, [1, 2], "iou") == 0.5


def test_boxes_without_masks_are_predicted_but_not_judged():
    """Instances without a mask change neither IoU nor AP, but masks can be predicted for them."""
    nothing = encode(rectangle(0))
    truth = dataset(
        annotation(1),
        annotation(2, segmentation=nothing, bbox=[20, 20, 10, 10]),
        annotation(3, class_id=2, segmentation=None),
    )
    predictions = dict.fromkeys((1, 2, 3), encode(rectangle(5)))
    table = per_class_iou(truth, predictions, [1])
    np.testing.assert_equal(list(table["iou"]), [0.5, np.nan])
    assert [1, 0] == list(table["instances"])
    assert 0.5 == average_precision.instance_mean(table, [1, 2], "iou")
    ground_truth = GroundTruth.from_coco(truth, [1])
    everything = mask_iou.as_detections(ground_truth, predictions)
    judged = mask_iou.with_annotated_mask(ground_truth, everything)
    assert [1] == [d["category_id"] for d in judged]
    moved = mask_iou.as_detections(ground_truth, predictions, dict.fromkeys((1, 2, 3), [1] * 4))
    assert [[0, 0, 10, 10], [1] * 4] == [judged[0]["bbox"], moved[0]["bbox"]]
    assert [1, 1, 2] == [d["category_id"] for d in everything]


def test_an_image_without_annotations_is_allowed():
    """Without annotations every class is undefined."""
    table = per_class_iou(dataset(annotation(1)), {1: encode(rectangle(5))}, [2])
    assert list(table["instances"]) == [0, 0]
    assert np.isnan(average_precision.class_means(table, [1, 2])["iou"])


def test_text_counts_are_accepted():
    """RLE may have text counts, as in JSON, on both sides."""
    mask = encode(rectangle(10))
    text = {"size": mask["size"], "counts": mask["counts"].decode()}
    truth = dataset(annotation(1, segmentation=text))
    assert per_class_iou(truth, {1: text}, [1]).loc[1, "iou"] == 1


def test_area_at_a_bound_counts_on_both_sides():
    """COCO's bounds include both ends: 32 x 32 is small and medium."""
    truth = dataset(annotation(1, area=1024))
    table = per_class_iou(truth, {1: encode(rectangle(5))}, [1])
    np.testing.assert_equal(
        list(table.loc[1, ["iou_s", "iou_m", "iou_l"]].astype(float)), [0.5, 0.5, np.nan]
    )


@pytest.mark.parametrize(
    ("numbers", "predicted_numbers", "message"),
    [
        ([1, 2, 3], [2], r"2 annotations have no predicted mask \(ids 1, 3\)"),
        ([1], [1, 8], r"1 predicted mask does not belong to any annotation \(ids 8\)"),
        ([1, 1], [1], r"1 annotation shares its id with another \(ids 1\)"),
    ],
)
def test_predictions_must_be_one_per_annotation(numbers, predicted_numbers, message):
    """A missing or superfluous mask is an error, not a lower number."""
    truth = dataset(*(annotation(number) for number in numbers))
    predictions = {number: encode(rectangle(5)) for number in predicted_numbers}
    with pytest.raises(UserError, match=message):
        mask_iou.as_detections(GroundTruth.from_coco(truth, [1]), predictions)


def test_masks_of_another_size_are_refused():
    """A mask of the resized image's size, which would silently score 0, is refused."""
    small = encode(np.ones((25, 30)))
    message = r"mask on image 1 has height and width \[25, 30\], but the image has \[50, 60\]"
    with pytest.raises(UserError, match=message):
        per_class_iou(dataset(annotation(1)), {1: small}, [1])


def test_each_annotated_mask_has_a_row(predicted):
    """The rows are the objects, with their sizes, whose means the table holds."""
    annotations, masks, predictions, image_ids = predicted
    instances = instance_ious(GroundTruth.from_coco(annotations, image_ids), predictions)
    expected = sorted(brute_force(annotations, masks))
    found = sorted(zip(instances["category_id"], instances["area"], instances["iou"], strict=True))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    of_annotation = {a["id"]: a["image_id"] for a in annotations["annotations"]}
    assert list(masks) == list(instances["annotation_id"])
    assert [of_annotation[i] for i in masks] == list(instances["image_id"])


def test_mask_ap_in_annotated_boxes_equals_pycocotools(predicted):
    """The detections made from predictions score as pycocotools scores them, ties and all."""
    annotations, masks, predictions, image_ids = predicted
    ground_truth = GroundTruth.from_coco(annotations, image_ids)
    detections = mask_iou.as_detections(ground_truth, predictions)
    assert len(masks) == len(detections)
    table = average_precision.per_class_ap(Overlaps(ground_truth, detections), "mask")
    for class_ids in (class_splits.VOC, class_splits.NON_VOC):
        expected = oracle(annotations, detections, image_ids, class_ids, "mask")
        assert pytest.approx(expected, abs=1e-6) == average_precision.class_means(table, class_ids)


def test_perfect_masks_in_annotated_boxes_score_one(predicted):
    """With the annotated masks themselves, AP is 1 for masks and boxes."""
    annotations, _, _, image_ids = predicted
    coco = quiet_coco(annotations)
    own = {number: coco.annToRLE(a) for number, a in coco.anns.items()}
    ground_truth = GroundTruth.from_coco(annotations, image_ids)
    detections = mask_iou.as_detections(ground_truth, own)
    for task in ("mask", "box"):
        table = average_precision.per_class_ap(Overlaps(ground_truth, detections), task)
        assert average_precision.class_means(table, table.index)[f"{task}_ap"] == 1


def test_equal_scores_make_ap_the_square_of_the_share_of_good_masks():
    """Half of 2,000 masks good, nothing to rank them by: AR is a half and AP a quarter."""
    rng = np.random.default_rng(0)
    good = rng.permutation(np.arange(2000) < 1000)
    annotations = [annotation(number, image_id=number) for number in range(2000)]
    truth = dataset(*annotations)
    truth["images"] = [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(2000)]
    masks = {False: encode(rectangle(1)), True: encode(rectangle(10))}
    predictions = {number: masks[bool(good[number])] for number in range(2000)}
    ground_truth = GroundTruth.from_coco(truth)
    detections = mask_iou.as_detections(ground_truth, predictions)
    row = average_precision.per_class_ap(Overlaps(ground_truth, detections), "mask").loc[1]
    assert row["mask_ar100"] == 0.5
    assert pytest.approx(0.25, abs=0.03) == row["mask_ap"]
