"""Masks predicted inside the annotated boxes: the mask head without the detector.

With one predicted mask per annotation there is nothing to find and nothing to rank, so the plain
number is the mean IoU of predicted and annotated mask::

    instances = instance_ious(ground_truth, {annotation_id: rle}, image_ids)
    table = per_class_iou(ground_truth, instances)
    summarise(table, novel_ids)["iou"]          # mean over classes, as AP is
    instance_mean(table, novel_ids, "iou")      # mean over instances: common classes weigh more

Boundary IoU is the IoU of the boundaries of both masks alone (arXiv:2103.16562);
`average_precision` says how wide these are.

`as_detections` makes the same masks comparable with mask AP. Objects that are annotated with a box
but no mask have nothing to compare a prediction with and do not count in either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd
from faster_coco_eval import mask as rle

from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics.average_precision import BOUNDARY_DILATION_RATIO
from deepmac_ablate.evaluation.metrics.ground_truth import (
    GroundTruth,
    first_ids,
    has_mask,
    load_annotations,
    scored_part,
)

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
    image_ids: Collection[int],
    boundary_dilation_ratio: float = BOUNDARY_DILATION_RATIO,
) -> pd.DataFrame:
    """Returns the IoU of predicted and annotated mask for every object that has a mask.

    Args:
        ground_truth: Annotations in COCO's format, or the path of their JSON file.
        predictions: The predicted mask of every non-crowd annotation of the scored images, by
            annotation id: RLE of the size of the image, `counts` as bytes or str. An empty mask
            has IoU 0.
        image_ids: The images that were scored; the others' annotations do not count.
        boundary_dilation_ratio: How wide a boundary is, as a share of the image's diagonal.

    Returns:
        One row per non-crowd annotation with a mask, in the annotations' order: `image_id`,
        `category_id`, `annotation_id`, `area` (the annotation's, in pixels), `iou` and
        `boundary_iou` in [0, 1].

    Raises:
        UserError: An annotation has no prediction or shares its id, a prediction has no annotation,
            or a mask has not the size of its image.
    """
    everything = load_annotations(ground_truth)
    truth = scored_part(everything, image_ids)
    annotations = [a for a in _predicted(everything, truth, predictions) if has_mask(a)]
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    return pd.DataFrame(
        [
            (a["image_id"], a["category_id"], a["id"], a["area"], *_ious(
                a, predictions[a["id"]], sizes[a["image_id"]], boundary_dilation_ratio))
            for a in annotations
        ],
        columns=["image_id", "category_id", "annotation_id", "area", "iou", "boundary_iou"],
    )


def per_class_iou(ground_truth: GroundTruth, instances: pd.DataFrame) -> pd.DataFrame:
    """Returns the mean IoU of predicted and annotated masks for every class of the data set.

    Args:
        ground_truth: Annotations in COCO's format, or the path of their JSON file.
        instances: What `instance_ious` returned.

    Returns:
        One row per class, indexed by `category_id` (ascending), with `name`, `instances` (non-crowd
        annotations with a mask) and `iou`, `iou_s`, `iou_m`, `iou_l`, `boundary_iou` in [0, 1]. NaN
        where there is no instance, of any or of that size.
    """
    categories = load_annotations(ground_truth)["categories"]
    names = {c["id"]: c["name"] for c in sorted(categories, key=lambda c: c["id"])}
    measured = instances[["category_id", "boundary_iou"]].copy()
    for metric, (low, high) in AREAS.items():
        measured[metric] = instances["iou"].where(instances["area"].between(low, high))
    classes = measured.groupby("category_id")
    table = classes[[*AREAS, "boundary_iou"]].mean().reindex(names)
    table.insert(0, "name", list(names.values()))
    table.insert(1, "instances", classes.size().reindex(names, fill_value=0))
    return table


def as_detections(
    ground_truth: GroundTruth,
    predictions: Mapping[int, Mapping[str, Any]],
    image_ids: Collection[int],
    with_unjudged: bool = False,
    boxes: Mapping[int, Sequence[float]] | None = None,
) -> list[dict[str, Any]]:
    """Returns masks predicted in annotated boxes as detections, for `per_class_ap`.

    The class is the annotation's and the score is 1 for all, so COCO's evaluation does not
    rank them: they count in the order of image ids and, in an image, of the annotations. That order
    is the same for every trial. Two consequences: where a share p of a class's masks reaches an IoU
    threshold, recall ends at p and precision is near p all along, so that AP there is near p^2, not
    p (AR is p, plus a chance match with a neighbour); and AP depends a little on the order, most in
    classes of a few instances. IoU has neither property; prefer it within one box source.

    Args:
        ground_truth: As for `instance_ious`.
        predictions: As for `instance_ious`.
        image_ids: As for `instance_ious`.
        with_unjudged: Whether masks are wanted, too, that no annotated mask judges; to look at.
        boxes: The boxes [x, y, w, h] that they were predicted in, by annotation id; None: the
            annotated ones.

    Raises:
        UserError: An annotation has no prediction or shares its id, or a prediction has no
            annotation.
    """
    everything = load_annotations(ground_truth)
    truth = scored_part(everything, image_ids)
    return [
        {
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"],
            "annotation_id": annotation["id"],
            "bbox": annotation["bbox"] if boxes is None else boxes[annotation["id"]],
            "score": 1.0,
            "segmentation": predictions[annotation["id"]],
        }
        for annotation in _predicted(everything, truth, predictions)
        if with_unjudged or has_mask(annotation)
    ]


def _predicted(
    everything: Mapping[str, Any], truth: Mapping[str, Any], predictions: Mapping[int, Any]
) -> list[Mapping[str, Any]]:
    """Returns the non-crowd annotations, after checking that each has its own prediction."""
    annotations = [a for a in truth["annotations"] if not a.get("iscrowd", 0)]
    times = Counter(annotation["id"] for annotation in annotations)
    for ids, fault in (
        ([i for i, n in times.items() if n > 1], "annotations share their id with another"),
        (times.keys() - predictions.keys(), "annotations have no predicted mask"),
        (
            predictions.keys() - {a["id"] for a in everything["annotations"]},
            "predicted masks belong to no annotation",
        ),
    ):
        if ids:
            raise UserError(f"{len(ids)} {fault} (ids {first_ids(ids)}).")
    return annotations


def _ious(
    annotation: Mapping[str, Any],
    prediction: Mapping[str, Any],
    size: tuple[int, int],
    boundary_dilation_ratio: float,
) -> tuple[float, float]:
    """Returns mask IoU and boundary IoU of an annotation and its prediction."""
    height, width = size
    if tuple(prediction["size"]) != size:
        raise UserError(
            f"The predicted mask of annotation {annotation['id']} has height and width "
            f"{list(prediction['size'])}, but its image has {list(size)}."
        )
    annotated = rle.segmToRle(annotation["segmentation"], width, height)
    boundaries = [rle.rleToBoundary(m, boundary_dilation_ratio) for m in (prediction, annotated)]
    return (
        float(rle.iou([prediction], [annotated], [0])[0, 0]),
        float(rle.iou(boundaries[:1], boundaries[1:], [0])[0, 0]),
    )
