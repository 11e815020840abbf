"""Mask IoU in ground-truth boxes: the quality of the mask head alone, without the detector.

With one predicted mask per annotation there is nothing to find or to rank, so the natural metric is
the mean IoU of predicted and annotated masks::

    results = as_detections(ground_truth, {annotation_id: rle})
    instances = instance_ious(Overlaps(ground_truth, with_annotated_mask(ground_truth, results)))
    table = per_class_iou(ground_truth, instances)
    class_means(table, novel_ids)["iou"]        # mean over classes, as AP is
    instance_mean(table, novel_ids, "iou")      # mean over instances: frequent classes weigh more

Boundary IoU is the IoU of the boundaries of both masks, see `boundaries`. Mask AP can be computed
for the same masks. Objects that are annotated with a box only count in neither, as there is no mask
to compare with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth, first_ids
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps

# COCO's size classes by the annotation's `area`, in pixels, both ends included
# (https://cocodataset.org/#detection-eval).
AREAS: dict[str, tuple[float, float]] = {
    "iou": (0, 1e10),
    "iou_s": (0, 32**2),
    "iou_m": (32**2, 96**2),
    "iou_l": (96**2, 1e10),
}
# IoU of masks that need no training with the same annotations, see `reference_masks`.
REFERENCES = ("iou_filled_box", "iou_ellipse", "iou_ceiling")
# Columns of the table of instances that are not means by class themselves.
_DESCRIPTION = ("image_id", "category_id", "annotation_id", "area", "iou")


def instance_ious(overlaps: Overlaps) -> pd.DataFrame:
    """Return the IoU of predicted and annotated mask for every object that has a mask.

    Args:
        overlaps: Those of the results of `as_detections`, or only of those `with_annotated_mask`.
            An empty mask has IoU 0.

    Returns:
        One row per non-crowd annotation with a mask, in the annotations' order: `image_id`,
        `category_id`, `annotation_id`, `area` (the annotation's, in pixels), `iou` and
        `boundary_iou` in [0, 1].

    Raises:
        UserError: If a mask and its image differ in size.
    """
    ious = {}
    for image_id, annotated in overlaps.ground_truth.annotations_by_image.items():
        columns = {a.id: column for column, a in enumerate(annotated)}
        for place, row in enumerate(overlaps.rows_by_image[image_id]):
            number = overlaps.results[row]["annotation_id"]
            ious[number] = tuple(
                float(values[image_id][place, columns[number]])
                for values in (overlaps.mask_ious, overlaps.boundary_ious))
    return pd.DataFrame(
        [(a.image_id, a.category_id, a.id, a.area, *ious[a.id])
         for a in overlaps.ground_truth.objects if a.has_mask],
        columns=["image_id", "category_id", "annotation_id", "area", "iou", "boundary_iou"],
    )


def per_class_iou(ground_truth: GroundTruth, instances: pd.DataFrame) -> pd.DataFrame:
    """Return the mean IoU of predicted and annotated masks for every class of the dataset.

    Args:
        ground_truth: The annotations of the scored images.
        instances: The table from `instance_ious`, with or without columns of further metrics.

    Returns:
        One row per class, indexed by `category_id` (ascending), with `name`, `instances` (non-crowd
        annotations with a mask), `iou`, `iou_s`, `iou_m`, `iou_l`, `boundary_iou` and the
        further metrics, in [0, 1]. NaN where there is no instance, at all or of that size.
    """
    names = ground_truth.class_names
    others = [name for name in instances if name not in _DESCRIPTION]
    measured = instances[["category_id", *others]].copy()
    for metric, (low, high) in AREAS.items():
        measured[metric] = instances["iou"].where(instances["area"].between(low, high))
    classes = measured.groupby("category_id")
    table = classes[[*AREAS, *others]].mean().reindex(list(names))
    table.insert(0, "name", list(names.values()))
    table.insert(1, "instances", classes.size().reindex(list(names), fill_value=0))
    return table


def as_detections(
    ground_truth: GroundTruth,
    predictions: Mapping[int, Mapping[str, Any]],
    boxes: Mapping[int, Sequence[float]] | None = None,
) -> list[dict[str, Any]]:
    """Return masks predicted in ground-truth boxes as detections, one per object.

    Pass them through `with_annotated_mask` before `per_class_ap`.

    The class is the annotation's and the score is 1 for all, so COCO's evaluation does not
    rank them: they count in the order of image ids and, in an image, of the annotations. That order
    is the same for every trial. Two consequences: where a share p of a class's masks reaches an IoU
    threshold, recall ends at p and precision is near p throughout, so that AP there is near p^2,
    not p (AR is p, plus chance matches with neighbours); and AP depends slightly on the order, most
    in classes with few instances. IoU has neither property; prefer it within one box source.

    Args:
        ground_truth: The annotations of the scored images.
        predictions: The predicted mask of every non-crowd annotation of the scored images, by
            annotation id: RLE of the size of the image, `counts` as bytes or str.
        boxes: The boxes [x, y, w, h] that they were predicted in, by annotation id; None for the
            ground-truth boxes.

    Raises:
        UserError: If an annotation has no prediction or shares its id, or a prediction has no
            annotation.
    """
    _check_one_prediction_each(ground_truth, predictions)
    return [
        {
            "image_id": annotation.image_id,
            "category_id": annotation.category_id,
            "annotation_id": annotation.id,
            "bbox": list(annotation.box if boxes is None else boxes[annotation.id]),
            "score": 1.0,
            "segmentation": predictions[annotation.id],
        }
        for annotation in ground_truth.objects
    ]


def with_annotated_mask(
    ground_truth: GroundTruth, detections: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return those results of `as_detections` whose object has an annotated mask."""
    return [d for d in detections if d["annotation_id"] in ground_truth.ids_with_mask]


def _check_one_prediction_each(
    ground_truth: GroundTruth, predictions: Mapping[int, Any]
) -> None:
    """Raise a UserError unless every object has a prediction of its own."""
    times = Counter(annotation.id for annotation in ground_truth.objects)
    for ids, one, many in (
        ([i for i, n in times.items() if n > 1],
         "annotation shares its id with another", "annotations share their id with another"),
        (times.keys() - predictions.keys(),
         "annotation has no predicted mask", "annotations have no predicted mask"),
        (predictions.keys() - ground_truth.known_annotation_ids,
         "predicted mask does not belong to any annotation",
         "predicted masks do not belong to any annotation"),
    ):
        if ids:
            raise UserError(f"{count_noun(len(ids), one, many)} (ids {first_ids(ids)}).")
