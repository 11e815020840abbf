"""Mask IoU in ground-truth boxes: the quality of the mask head alone, without the detector.

With one predicted mask per annotation there is nothing to find or to rank, so the natural metric is
the mean IoU of predicted and annotated masks::

    instances = instance_ious(ground_truth, {annotation_id: rle})
    table = per_class_iou(ground_truth, instances)
    class_means(table, novel_ids)["iou"]        # mean over classes, as AP is
    instance_mean(table, novel_ids, "iou")      # mean over instances: frequent classes weigh more

Boundary IoU is the IoU of the boundaries of both masks (arXiv:2103.16562); `average_precision`
defines their width.

`as_detections` makes mask AP computable for the same masks. Objects that are annotated with a box
only count in neither, as there is no mask to compare with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from faster_coco_eval import mask as rle

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.evaluation.metrics.average_precision import BOUNDARY_DILATION_RATIO
from deepmac_ablate.evaluation.metrics.ground_truth import Annotation, GroundTruth, first_ids

# COCO's size classes by the annotation's `area`, in pixels, both ends included
# (https://cocodataset.org/#detection-eval).
AREAS: dict[str, tuple[float, float]] = {
    "iou": (0, 1e10),
    "iou_s": (0, 32**2),
    "iou_m": (32**2, 96**2),
    "iou_l": (96**2, 1e10),
}


def instance_ious(
    ground_truth: GroundTruth,
    predictions: Mapping[int, Mapping[str, Any]],
    boundary_dilation_ratio: float = BOUNDARY_DILATION_RATIO,
) -> pd.DataFrame:
    """Return the IoU of predicted and annotated mask for every object that has a mask.

    Args:
        ground_truth: The annotations of the scored images.
        predictions: The predicted mask of every non-crowd annotation of the scored images, by
            annotation id: RLE of the size of the image, `counts` as bytes or str. An empty mask
            has IoU 0.
        boundary_dilation_ratio: The width of a boundary as a share of the image's diagonal.

    Returns:
        One row per non-crowd annotation with a mask, in the annotations' order: `image_id`,
        `category_id`, `annotation_id`, `area` (the annotation's, in pixels), `iou` and
        `boundary_iou` in [0, 1].

    Raises:
        UserError: If an annotation has no prediction or shares its id, a prediction has no
            annotation, or a mask and its image differ in size.
    """
    _check_one_prediction_each(ground_truth, predictions)
    return pd.DataFrame(
        [
            (a.image_id, a.category_id, a.id, a.area, *_ious(
                a, predictions[a.id], ground_truth.image_sizes[a.image_id],
                boundary_dilation_ratio))
            for a in ground_truth.objects if a.has_mask
        ],
        columns=["image_id", "category_id", "annotation_id", "area", "iou", "boundary_iou"],
    )


def per_class_iou(ground_truth: GroundTruth, instances: pd.DataFrame) -> pd.DataFrame:
    """Return the mean IoU of predicted and annotated masks for every class of the dataset.

    Args:
        ground_truth: The annotations of the scored images.
        instances: The table from `instance_ious`.

    Returns:
        One row per class, indexed by `category_id` (ascending), with `name`, `instances` (non-crowd
        annotations with a mask) and `iou`, `iou_s`, `iou_m`, `iou_l`, `boundary_iou` in [0, 1]. NaN
        where there is no instance, at all or of that size.
    """
    names = ground_truth.class_names
    measured = instances[["category_id", "boundary_iou"]].copy()
    for metric, (low, high) in AREAS.items():
        measured[metric] = instances["iou"].where(instances["area"].between(low, high))
    classes = measured.groupby("category_id")
    table = classes[[*AREAS, "boundary_iou"]].mean().reindex(list(names))
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
        predictions: The predicted masks by annotation id, as for `instance_ious`.
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


def _ious(
    annotation: Annotation,
    prediction: Mapping[str, Any],
    size: tuple[int, int],
    boundary_dilation_ratio: float,
) -> tuple[float, float]:
    """Return the mask IoU and the boundary IoU of an annotation and its prediction."""
    if tuple(prediction["size"]) != size:
        raise UserError(
            f"The predicted mask of annotation {annotation.id} has height and width "
            f"{list(prediction['size'])}, but its image has {list(size)}."
        )
    masks = [prediction, annotation.region]
    boundaries = [rle.rleToBoundary(mask, boundary_dilation_ratio) for mask in masks]
    return (
        float(rle.iou(masks[:1], masks[1:], [0])[0, 0]),
        float(rle.iou(boundaries[:1], boundaries[1:], [0])[0, 0]),
    )
