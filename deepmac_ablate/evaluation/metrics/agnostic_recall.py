"""Class-agnostic AR of masks: the share of objects that are segmented at all, by any class.

One matching per image of its 100 best detections, of all classes together, with all its annotated
objects: COCO's greedy matching with `useCats = 0`. A detector that segments an object well and
gives it the wrong class has found it::

    table = per_class_agnostic_recall(ground_truth, detections)
    instance_mean(table, novel_ids, "mask_ar100_agnostic")

A class's value is the mean over the IoU thresholds .50, .55, ... .95 of the share of its objects
that are found. The value of a group of classes is the mean over its instances; over all classes it
is pycocotools' number.

Detections on objects of seen classes take part in the 100 and in the matching, as they do when the
detector is used. The literature differs here (some leave them out of the 100, some match by class),
so numbers called AR100 are comparable only under the same protocol. Objects without an annotated
mask are neither found nor missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from faster_coco_eval import mask as rle

from deepmac_ablate.evaluation.metrics.average_precision import MAX_DETECTIONS, checked_results
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth

# The same float values as COCO's, on which a mask of IoU exactly 0.6 depends.
_THRESHOLDS = np.linspace(0.5, 0.95, 10)


def per_class_agnostic_recall(
    ground_truth: GroundTruth, detections: Iterable[Mapping[str, Any]]
) -> pd.DataFrame:
    """Return the share of objects found, for every class of the dataset.

    Args:
        ground_truth: The annotations of the scored images.
        detections: COCO results with masks, as for `average_precision.per_class_ap`.

    Returns:
        One row per class, indexed by `category_id` (ascending), with `name`, `instances` (non-crowd
        annotations with a mask) and `mask_ar100_agnostic` in [0, 1], NaN for a class without any.

    Raises:
        UserError: If a detection is invalid, see `average_precision.per_class_ap`.
    """
    names = ground_truth.class_names
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for detection in checked_results(ground_truth, detections, "mask"):
        if detection["category_id"] in names:
            found[detection["image_id"]].append(detection)
    classes: list[int] = []
    shares: list[float] = []
    for image_id, objects in ground_truth.objects_by_image.items():
        # Equal scores and equal IoUs are ranked by class, then by place in the input, as COCO does.
        annotations = sorted(
            (a for a in objects if a.has_mask), key=lambda a: a.category_id)
        best = sorted(found[image_id], key=lambda d: (-d["score"], d["category_id"]))
        classes += [annotation.category_id for annotation in annotations]
        shares += _shares_found(
            [d["segmentation"] for d in best[:MAX_DETECTIONS]], [a.region for a in annotations])
    by_class = pd.Series(shares, dtype=float).groupby(classes)
    return pd.DataFrame(
        {
            "name": list(names.values()),
            "instances": by_class.size().reindex(list(names), fill_value=0).to_numpy(),
            "mask_ar100_agnostic": by_class.mean().reindex(list(names)).to_numpy(),
        },
        index=pd.Index(list(names), name="category_id"),
    )


def _shares_found(best: list[Any], objects: list[Any]) -> list[float]:
    """Return, for each object of an image, the share of IoU thresholds at which it is found.

    Args:
        best: The detected masks as RLE, by falling score. At each threshold, each takes the free
            object that it overlaps most.
        objects: The annotated masks as RLE, without crowds: a detection is matched with a crowd
            only if no free object is left for it.
    """
    if not objects or not best:
        return [0.0] * len(objects)
    overlaps = np.asarray(rle.iou(best, objects, [0] * len(objects)))
    free = np.ones((len(_THRESHOLDS), len(objects)), bool)
    rows = np.arange(len(_THRESHOLDS))
    for overlap in overlaps[overlaps.max(axis=1) >= _THRESHOLDS[0]]:
        candidates = np.where(free, overlap, -1.0)
        # The last one of equal candidates, as in COCO.
        taken = len(objects) - 1 - candidates[:, ::-1].argmax(axis=1)
        hit = candidates[rows, taken] >= _THRESHOLDS
        free[rows[hit], taken[hit]] = False
    return (1.0 - free.mean(axis=0)).tolist()
