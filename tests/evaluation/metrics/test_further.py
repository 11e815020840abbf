"""Metrics of one's own: what they are given, and what they may return."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as rle

from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics import further, mask_iou
from deepmac_ablate.evaluation.metrics.further import ClassMetric, ObjectMetric
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.matches import match_detections
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps

HEIGHT, WIDTH = 40, 50


class Recall(ObjectMetric):
    """Share of the object's pixels that the mask covers."""

    name = "recall"

    def score(self, predicted: np.ndarray, annotated: np.ndarray) -> float:
        """Compare two masks."""
        return (predicted & annotated).sum() / annotated.sum()


class Iou(ObjectMetric):
    """IoU, to compare with the built-in one."""

    name = "my_iou"

    def score(self, predicted: np.ndarray, annotated: np.ndarray) -> float:
        """Compare two masks."""
        assert predicted.dtype == annotated.dtype == bool
        return (predicted & annotated).sum() / (predicted | annotated).sum()


class Matched(ClassMetric):
    """Share of the predictions that match an object."""

    name = "matched"

    def per_class(self, overlaps: Overlaps) -> pd.Series:
        """Average over the predictions of each class."""
        matches = match_detections(overlaps, "mask")
        classes = matches.class_ids[matches.category]
        return pd.Series(matches.matched[:, 0].astype(float)).groupby(classes).mean()


def encode(mask: np.ndarray) -> dict:
    return rle.encode(np.asfortranarray(mask.astype(np.uint8)))


@pytest.fixture(scope="module")
def masks() -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Predicted and annotated mask by annotation: overlapping, apart, empty, and full."""
    rng = np.random.default_rng(3)
    found = {}
    for number in range(1, 9):
        pair = np.zeros((2, HEIGHT, WIDTH), bool)
        for mask in pair:
            y, x = rng.integers(0, 25, 2)
            mask[y : y + rng.integers(1, 15), x : x + rng.integers(1, 25)] = True
            mask &= rng.random(mask.shape) < 0.7
            mask[y, x] = True
        found[number] = pair[0], pair[1]
    found[9] = np.zeros((HEIGHT, WIDTH), bool), found[1][1]
    found[10] = np.ones((HEIGHT, WIDTH), bool), found[2][1]
    return found


@pytest.fixture(scope="module")
def overlaps(masks) -> Overlaps:
    """Those of the masks, as if predicted in given boxes; even ids are of class 2."""
    truth = GroundTruth.from_coco({
        "images": [{"id": 1, "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}, {"id": 3, "name": "-"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 2 - i % 2, "iscrowd": 0,
             "area": float(annotated.sum()), "bbox": rle.toBbox(encode(annotated)).tolist(),
             "segmentation": encode(annotated)}
            for i, (_, annotated) in masks.items()]})
    return Overlaps(truth, mask_iou.as_detections(
        truth, {i: encode(predicted) for i, (predicted, _) in masks.items()}))


def test_masks_are_cut_out_in_the_same_place(masks, overlaps) -> None:
    """Values equal those of whole images, wherever the masks lie and if one is empty."""
    table = further.score_objects([Recall(), Matched(), Iou()], overlaps)
    assert ["recall", "my_iou"] == list(table)
    expected = [(p & a).sum() / a.sum() for p, a in masks.values()]
    np.testing.assert_allclose(table["recall"], expected)
    np.testing.assert_allclose(table["my_iou"], mask_iou.instance_ious(overlaps)["iou"])
    assert 0.0 == table["my_iou"][8] < table["my_iou"][9]


def test_classes_without_a_value_have_none(overlaps) -> None:
    """The table has a row for each class of the dataset."""
    table = further.score_classes([Recall(), Matched()], overlaps)
    assert (["matched"], [1, 2, 3]) == (list(table), list(table.index))
    assert table["matched"].notna().tolist() == [True, True, False]
    assert 0 <= table["matched"][1] <= 1


def test_undefined_values_are_left_out_of_means(masks, overlaps) -> None:
    """NaN for an object leaves it out of its class's mean."""
    class OfLarge(Recall):
        def score(self, predicted: np.ndarray, annotated: np.ndarray) -> float:
            return super().score(predicted, annotated) if annotated.sum() > 60 else math.nan

    instances = pd.concat([
        mask_iou.instance_ious(overlaps), further.score_objects([OfLarge()], overlaps)], axis=1)
    means = mask_iou.per_class_iou(overlaps.ground_truth, instances)["recall"]
    for class_id in (1, 2):
        large = [(p & a).sum() / a.sum() for i, (p, a) in masks.items()
                 if 2 - i % 2 == class_id and a.sum() > 60]
        assert np.mean(large) == pytest.approx(means[class_id])
    assert math.isnan(means[3])


@pytest.mark.parametrize("value", [1.5, -0.1, math.inf, "much", None])
def test_values_out_of_range_are_refused(overlaps, value) -> None:
    """The sentence names the metric, the value and the object."""
    metric = Recall()
    metric.score = lambda *_: value
    with pytest.raises(UserError) as raised:
        further.score_objects([metric], overlaps)
    assert (f"The metric recall (Recall) must be from 0 to 1, or NaN where it is undefined, got "
            f"{value!r} for annotation 1.") == str(raised.value)


def test_what_is_no_series_by_class_is_refused(overlaps) -> None:
    """A number for all classes, and classes that the dataset lacks."""
    metric = Matched()
    for value, message in (
            (0.5, "Matched.per_class must return a pandas.Series by category id, got a float."),
            (pd.Series({7: 0.5}), "but the dataset has no class 7."),
            (pd.Series({2: 3.0}), "got np.float64(3.0) for class two.")):
        metric.per_class = lambda _, value=value: value
        with pytest.raises(UserError) as raised:
            further.score_classes([metric], overlaps)
        assert message in str(raised.value)


def test_names_must_be_their_own() -> None:
    """They are columns of tables, beside those of the built-in metrics."""
    def named(name: str) -> Recall:
        metric = Recall()
        metric.name = name
        return metric

    for names, message in (
            (["Pixel Recall"], "such as 'pixel_recall', got 'Pixel Recall'."),
            ([""], "Recall.name must be lower-case letters"), (["iou"], "'iou' is the name of"),
            (["mask_ap"], "'mask_ap' is the name of another"), (["area"], "'area' is the name of"),
            (["mask_ar100_agnostic"], "choose a name of its own"),
            (["mine", "mine"], "Recall.name = 'mine' is the name of another metric")):
        with pytest.raises(UserError) as raised:
            further.check_metrics([named(name) for name in names])
        assert message in str(raised.value)
    further.check_metrics([named("mine"), named("recall50"), Matched()])
