"""Average precision of each class, exactly as COCO defines it, and means over groups of classes.

COCO's AP is itself a mean over classes, so the AP of the novel classes is the mean of their rows
here. One evaluation serves every class split, and the numbers equal pycocotools' up to rounding
(`COCOeval` with `params.catIds` restricted)::

    check_every_image_once(expected_ids, scored_ids)
    ground_truth = GroundTruth.load("instances_val2017.json", scored_ids)
    table = per_class_ap(ground_truth, detections, "mask")
    class_means(table, novel_ids)["mask_ap"]

Definitions: https://cocodataset.org/#detection-eval. At most 100 detections count per image and
class. Objects are small, medium or large by the `area` field of their annotation, in pixels: up to
32^2, 32^2 to 96^2, from 96^2, both ends included. For an unmatched detection, the area of its mask
counts for masks and that of its box for boxes (pycocotools uses boxes for masks, too, if its input
has both).

An object with a box but no mask is an object for box AP. For mask AP its pixels are unknown, so it
is neither found nor missed: its box becomes a crowd region, in which detections of its class are
ignored. A class without any masks has no mask AP.

Boundary AP is mask AP with the smaller of mask IoU and boundary IoU in place of mask IoU (Cheng et
al., CVPR 2021, arXiv:2103.16562): the inside of a large object cannot hide a coarse contour. A
boundary is the part of a mask within 2 % of the image's diagonal from its contour (at least one
pixel; 16 pixels for 640 x 480), so that for small objects it is the whole mask, and both APs agree.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as rle

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth, first_ids

Task = Literal["mask", "boundary", "box"]

METRICS: tuple[str, ...] = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar100")
# Columns of a per-class table that are not metrics.
DESCRIPTION: tuple[str, ...] = ("name", "role", "instances")

# The width of a boundary as a share of the image's diagonal, the default of arXiv:2103.16562.
BOUNDARY_DILATION_RATIO = 0.02

_IOU_TYPES = {"mask": "segm", "boundary": "boundary", "box": "bbox"}
MAX_DETECTIONS = 100


def check_every_image_once(expected_ids: Iterable[int], scored_ids: Iterable[int]) -> None:
    """Raise unless the scored images are the expected ones, each exactly once.

    Dropped or repeated images (a last partial batch, a repeated dataset) would change AP silently,
    as COCO's evaluation accepts any list of images.

    Raises:
        UserError: If images are missing, scored more than once, or not expected.
    """
    expected = set(expected_ids)
    scored = Counter(scored_ids)
    wrong = {
        "not scored": expected - scored.keys(),
        "scored more than once": {image_id for image_id, times in scored.items() if times > 1},
        "not in the dataset": scored.keys() - expected,
    }
    faults = [f"{len(ids)} {fault} (ids {first_ids(ids)})" for fault, ids in wrong.items() if ids]
    if faults:
        raise UserError(
            f"Each of the {count_noun(len(expected), 'image')} must be scored exactly once, but of "
            f"{count_noun(scored.total(), 'scored image')}: {'; '.join(faults)}."
        )


def per_class_ap(
    ground_truth: GroundTruth,
    detections: Iterable[Mapping[str, Any]],
    task: Task,
    boundary_dilation_ratio: float = BOUNDARY_DILATION_RATIO,
) -> pd.DataFrame:
    """Return the AP of every class of the dataset over the scored images.

    Detections on images that are not scored, or of classes that the dataset lacks, do not count.
    The detections are not modified.

    Args:
        ground_truth: The annotations of the scored images.
        detections: COCO results: `image_id`, `category_id`, `score`, and, depending on the task,
            `segmentation` (RLE of the size of the image, `counts` as bytes or str) or `bbox`
            ([x, y, w, h] in pixels of the original image).
        task: "mask", "boundary" or "box".
        boundary_dilation_ratio: The width of a boundary as a share of the image's diagonal.

    Returns:
        One row per class, indexed by `category_id` (ascending), with `name`, `instances` (non-crowd
        annotations; unless the task is "box", those with a mask) and `<task>_<metric>` for each of
        `METRICS`, in [0, 1]. NaN where there is no instance to find, at all or of that size.

    Raises:
        UserError: If a detection is on an unknown image, its score or box is not finite, or its
            mask and its image differ in size.
    """
    truth, found = coco_datasets(ground_truth, detections, task)
    evaluation = COCOeval_faster(
        COCO(truth, print_function=_silent),
        COCO(found, print_function=_silent),
        _IOU_TYPES[task],
        print_function=_silent,
        boundary_dilation_ratio=boundary_dilation_ratio,
    )
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    return _table(evaluation, truth, task)


def coco_datasets(
    ground_truth: GroundTruth, detections: Iterable[Mapping[str, Any]], task: Task
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return annotations and detections as libraries for COCO's evaluation expect them.

    Args:
        ground_truth: The annotations of the scored images.
        detections: COCO results, as for `per_class_ap`.
        task: "mask", "boundary" or "box".

    Returns:
        Two datasets in COCO's format, of the scored images and all classes, which the caller may
        modify. Unless the task is "box", an object without a mask is a crowd region.

    Raises:
        UserError: If a detection is invalid, see `per_class_ap`.
    """
    truth = ground_truth.to_coco(masks=task != "box")
    return truth, truth | {"annotations": checked_results(ground_truth, detections, task)}


def class_means(per_class: pd.DataFrame, class_ids: Iterable[int]) -> dict[str, float]:
    """Return the mean of every metric over classes, leaving out classes where it is undefined.

    Args:
        per_class: A table with one row per class, indexed by `category_id`.
        class_ids: The classes to average over; the mean is NaN if none of them has a value.
    """
    metrics = per_class.drop(columns=list(DESCRIPTION), errors="ignore")
    means = metrics.loc[sorted(class_ids)].mean(axis="index")
    return {str(metric): float(value) for metric, value in means.items()}


def instance_mean(per_class: pd.DataFrame, class_ids: Iterable[int], metric: str) -> float:
    """Return the mean of a metric over all instances of some classes, NaN if they have none.

    Args:
        per_class: A table with one row per class, indexed by `category_id`, with `instances`.
        class_ids: The classes whose instances count; frequent classes weigh more.
        metric: A column that is itself a mean over the instances of a class.
    """
    rows = per_class.loc[sorted(class_ids)]
    instances = int(rows["instances"].sum())
    return float((rows[metric] * rows["instances"]).sum()) / instances if instances else math.nan


def checked_results(
    ground_truth: GroundTruth, detections: Iterable[Mapping[str, Any]], task: Task
) -> list[dict[str, Any]]:
    """Return the detections on scored images, checked and copied for the evaluation library.

    Args:
        ground_truth: The annotations of the scored images.
        detections: COCO results, as for `per_class_ap`.
        task: "mask", "boundary" or "box".

    Raises:
        UserError: If a detection is invalid, see `per_class_ap`.
    """
    results = []
    for detection in detections:
        image_id = int(detection["image_id"])
        if image_id not in ground_truth.known_image_ids:
            raise UserError(f"A detection is on image {image_id}, which the ground truth lacks.")
        size = ground_truth.image_sizes.get(image_id)
        if size is None:
            continue
        result = {
            "id": len(results) + 1,
            "image_id": image_id,
            "category_id": int(detection["category_id"]),
            "score": float(detection["score"]),
            "iscrowd": 0,
        }
        if task != "box":
            mask = detection["segmentation"]
            if tuple(mask["size"]) != size:
                raise UserError(
                    f"A detected mask on image {image_id} has height and width "
                    f"{list(mask['size'])}, but the image has {list(size)}."
                )
            result |= {"segmentation": mask, "area": int(rle.area(mask))}
        else:
            box = [float(coordinate) for coordinate in detection["bbox"]]
            result |= {"bbox": box, "area": box[2] * box[3]}
        if not all(map(math.isfinite, [result["score"], *result.get("bbox", [])])):
            raise UserError(
                f"A detection on image {image_id} is not finite: score {result['score']}"
                f"{', box ' + str(result['bbox']) if task == 'box' else ''}."
            )
        results.append(result)
    return results


def _table(evaluation: COCOeval_faster, truth: Mapping[str, Any], task: Task) -> pd.DataFrame:
    """Return the per-class table of an accumulated evaluation."""
    parameters = evaluation.params
    # [iou, recall, class, area] and [iou, class, area]; -1 if there is nothing to find.
    precision, recall = (
        np.where(values < 0, np.nan, values)
        for values in (evaluation.eval["precision"][..., -1], evaluation.eval["recall"][..., -1])
    )
    area = {label: position for position, label in enumerate(parameters.areaRngLbl)}
    iou = {round(float(value), 2): position for position, value in enumerate(parameters.iouThrs)}
    columns = (
        precision[..., area["all"]].mean(axis=(0, 1)),
        precision[iou[0.5], ..., area["all"]].mean(axis=0),
        precision[iou[0.75], ..., area["all"]].mean(axis=0),
        precision[..., area["small"]].mean(axis=(0, 1)),
        precision[..., area["medium"]].mean(axis=(0, 1)),
        precision[..., area["large"]].mean(axis=(0, 1)),
        recall[..., area["all"]].mean(axis=0),
    )
    instances = Counter(a["category_id"] for a in truth["annotations"] if not a["iscrowd"])
    names = {category["id"]: category["name"] for category in truth["categories"]}
    ids = [int(class_id) for class_id in parameters.catIds]
    return pd.DataFrame(
        {
            "name": [names[class_id] for class_id in ids],
            "instances": [instances[class_id] for class_id in ids],
            **{f"{task}_{name}": values for name, values in zip(METRICS, columns, strict=True)},
        },
        index=pd.Index(ids, name="category_id"),
    )


def _silent(*_: object) -> None:
    """Discard the library's progress messages."""
