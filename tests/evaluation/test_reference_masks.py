"""Floors and ceiling of masks in given boxes, against calculations by hand and on whole images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepmac_ablate.data import masks
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.reference_masks import reference_ious

HEIGHT, WIDTH = 60, 80


def ground_truth(*pixels: np.ndarray) -> GroundTruth:
    """Annotations of one image, with ids from 1 on and tight boxes."""
    annotations = []
    for number, mask in enumerate(pixels, start=1):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
        annotations.append({
            "id": number, "image_id": 1, "category_id": 1, "bbox": box, "area": int(mask.sum()),
            "iscrowd": 0, "segmentation": masks.encode_runs(mask)})
    return GroundTruth.from_coco({
        "images": [{"id": 1, "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "thing"}], "annotations": annotations})


def references(
    *pixels: np.ndarray, boxes: dict[int, list[float]] | None = None, mask_size: int = 32
) -> list[dict[str, float]]:
    truth = ground_truth(*pixels)
    own = {annotation.id: annotation.box for annotation in truth.objects}
    return reference_ious(truth, boxes or own, mask_size).to_dict("records")


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def test_a_rectangle_is_its_box():
    """The filled box is perfect, and the ceiling nearly so; the ellipse has pi / 4 of the area."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:42, 20:60] = True
    [found] = references(mask)
    assert 1.0 == found["iou_filled_box"]
    assert math.pi / 4 == pytest.approx(found["iou_ellipse"], abs=0.01)
    # Model Garden lets masks fade towards the edge of their box.
    assert 0.9 < found["iou_ceiling"] <= 1.0


def test_a_disc_is_its_ellipse():
    """The ellipse is perfect, and the filled box has pi / 4 of the IoU."""
    [found] = references(disc(40, 30, 20))
    assert 1.0 == found["iou_ellipse"]
    assert math.pi / 4 == pytest.approx(found["iou_filled_box"], abs=0.01)


def test_the_ceiling_rises_with_the_resolution_of_the_masks():
    """A fine comb is lost at 4 x 4 cells, and kept at 64 x 64."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:50, 10:70:4] = mask[10:50, 11:71:4] = True
    mask[10:12, 10:72] = True
    coarse, fine = (references(mask, mask_size=size)[0]["iou_ceiling"] for size in (4, 64))
    assert coarse < 0.7 < 0.85 < fine


@pytest.mark.parametrize("box", [
    [12.3, 8.1, 30.7, 40.2], [-9.5, -3.0, 40.0, 33.0], [60.0, 40.0, 35.0, 35.0],
    [0.0, 0.0, 80.0, 60.0], [70.0, 2.0, 5.0, 5.0]])
def test_floors_are_those_of_whole_images(box):
    """In any box, also beyond the image and beside the object."""
    mask = disc(35, 28, 17) & ~disc(30, 25, 6)
    [found] = references(mask, boxes={1: box})
    x, y, width, height = box
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    right, down = (columns - x) / width * 2 - 1, (rows - y) / height * 2 - 1
    for name, shape in (
            ("iou_filled_box", (abs(right) < 1) & (abs(down) < 1)),
            ("iou_ellipse", right**2 + down**2 < 1)):
        assert (mask & shape).sum() / (mask | shape).sum() == pytest.approx(found[name], abs=1e-12)


def test_only_annotated_masks_have_references():
    """An object with a box only has no row, and neither has a crowd."""
    truth = ground_truth(disc(20, 20, 10), disc(60, 30, 15), disc(40, 40, 12))
    entries = [
        {"id": a.id, "image_id": 1, "category_id": 1, "bbox": list(a.box), "area": a.area,
         "iscrowd": int(a.id == 3), **({} if a.id == 1 else {"segmentation": a.region})}
        for a in truth.objects]
    partial = GroundTruth.from_coco({
        "images": [{"id": 1, "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "thing"}], "annotations": entries})
    found = reference_ious(partial, {a.id: a.box for a in partial.objects}, 32)
    assert [1.0] == list(found["iou_ellipse"])
