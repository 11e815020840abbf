"""Average precision of each class, exactly as COCO defines it, and means over groups of classes.

COCO's AP is itself a mean over classes, so the AP of the novel classes is the mean of their rows
here. One evaluation serves every class split, and the numbers equal pycocotools' up to rounding
(`COCOeval` with `params.catIds` restricted)::

    check_every_image_once(expected_ids, scored_ids)
    ground_truth = GroundTruth.load("instances_val2017.json", scored_ids)
    table = per_class_ap(Overlaps(ground_truth, detections), "mask")
    class_means(table, novel_ids)["mask_ap"]

Definitions: https://cocodataset.org/#detection-eval. At most 100 detections count per image and
class. Objects are small, medium or large by the `area` field of their annotation, in pixels: up to
32^2, 32^2 to 96^2, from 96^2, both ends included. For an unmatched detection, the area of its mask
counts for masks and that of its box for boxes (pycocotools uses boxes for masks, too, if its input
has both).

A class without any masks has no mask AP; `overlaps` defines the overlaps of masks, boundaries and
boxes, and what becomes of objects without a mask.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd
from faster_coco_eval import COCO, COCOeval_faster

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth, first_ids
from deepmac_ablate.evaluation.metrics.overlaps import MAX_DETECTIONS, Overlaps, Task

METRICS: tuple[str, ...] = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar100")
# Columns of a per-class table that are not metrics.
DESCRIPTION: tuple[str, ...] = ("name", "role", "instances")


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


def per_class_ap(overlaps: Overlaps, task: Task) -> pd.DataFrame:
    """Return the AP of every class of the dataset over the scored images.

    Args:
        overlaps: The detections and their overlaps with the annotations.
        task: "mask", "boundary" or "box".

    Returns:
        One row per class, indexed by `category_id` (ascending), with `name`, `instances` (non-crowd
        annotations; unless the task is "box", those with a mask) and `<task>_<metric>` for each of
        `METRICS`, in [0, 1]. NaN where there is no instance to find, at all or of that size.

    Raises:
        UserError: If a detection is invalid, see `Overlaps`.
    """
    evaluation = _Evaluation(overlaps, task)
    evaluation.evaluate()
    evaluation.accumulate()
    return _table(evaluation, overlaps.ground_truth, task)


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


class _Evaluation(COCOeval_faster):
    """The library's evaluation, given the IoUs."""

    def __init__(self, overlaps: Overlaps, task: Task) -> None:
        truth = overlaps.ground_truth
        # Numbered like `overlaps.image_ids`, as the library takes ids for float64, in which large
        # ones are equal.
        self._image_ids = overlaps.image_ids.tolist()
        numbers = {image_id: number for number, image_id in enumerate(self._image_ids)}
        dataset = {
            "images": [{"id": numbers[image_id]} for image_id in truth.image_sizes],
            "categories": [{"id": class_id} for class_id in truth.class_names]}
        # Numbered from 1, as the library takes annotation id 0 for "unmatched", and equal ids for
        # the same annotation.
        annotations = [
            {"id": number, "image_id": numbers[a.image_id], "category_id": a.category_id,
             "area": a.area, "iscrowd": int(not a.is_object(masks=task != "box"))}
            for number, a in enumerate(truth.annotations, start=1)]
        rows = zip(
            overlaps.image.tolist(),
            overlaps.class_ids[overlaps.category].tolist(), overlaps.areas(task).tolist(),
            overlaps.scores.tolist(), strict=True)
        detections = [
            {"id": number, "image_id": image_id, "category_id": class_id, "area": area,
             "score": score}
            for number, (image_id, class_id, area, score) in enumerate(rows, start=1)]
        super().__init__(
            *(COCO(dataset | {"annotations": entries}, print_function=_silent)
              for entries in (annotations, detections)),
            # Of masks, the library would compute the IoUs anew.
            "bbox",
            print_function=_silent)
        self.params.maxDets = [MAX_DETECTIONS]
        self._known = {
            (pair.image_id, pair.class_id): pair.ious.tolist() for pair in overlaps.by_class(task)}

    def computeIoU(self, imgId: int, catId: int) -> list[list[float]]:  # noqa: N802, N803
        """Return IoUs [detections by score, annotations], like the method that it overrides."""
        return self._known[self._image_ids[imgId], catId]


def _table(
    evaluation: COCOeval_faster, ground_truth: GroundTruth, task: Task
) -> pd.DataFrame:
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
    instances = Counter(
        a.category_id for a in ground_truth.annotations if a.is_object(masks=task != "box"))
    names = ground_truth.class_names
    return pd.DataFrame(
        {
            "name": list(names.values()),
            "instances": [instances[class_id] for class_id in names],
            **{f"{task}_{name}": values for name, values in zip(METRICS, columns, strict=True)},
        },
        index=pd.Index(list(names), name="category_id"),
    )


def _silent(*_: object) -> None:
    """Discard the library's progress messages."""
