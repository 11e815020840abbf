"""Class-agnostic AR of masks: the share of objects that are segmented at all, by any class.

One matching per image of its 100 best detections, of all classes together, with all its annotated
objects: COCO's greedy matching with `useCats = 0`. A detector that segments an object well and
gives it the wrong class has found it::

    table = per_class_agnostic_recall(Overlaps(ground_truth, detections))
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

import numpy as np
import pandas as pd

from deepmac_ablate.evaluation.metrics.matching import match_greedily
from deepmac_ablate.evaluation.metrics.overlaps import MAX_DETECTIONS, Overlaps


def per_class_agnostic_recall(overlaps: Overlaps) -> pd.DataFrame:
    """Return the share of objects found, for every class of the dataset.

    Args:
        overlaps: The detections, with masks, and their overlaps with the annotations.

    Returns:
        One row per class, indexed by `category_id` (ascending), with `name`, `instances` (non-crowd
        annotations with a mask) and `mask_ar100_agnostic` in [0, 1], NaN for a class without any.

    Raises:
        UserError: If a detection is invalid, see `Overlaps`.
    """
    names = overlaps.ground_truth.class_names
    classes: list[int] = []
    shares: list[float] = []
    for image_id, annotated in overlaps.ground_truth.annotations_by_image.items():
        # Equal scores and equal IoUs are ranked by class, then by place in the input, as COCO does.
        # Crowds are left out: a detection is matched with one only if no free object is left.
        columns = sorted(
            (i for i, a in enumerate(annotated) if a.is_object(masks=True)),
            key=lambda i: annotated[i].category_id)
        rows = overlaps.rows_by_image[image_id]
        best = np.lexsort((overlaps.category[rows], -overlaps.scores[rows]))[:MAX_DETECTIONS]
        matches = match_greedily(
            overlaps.mask_ious[image_id][np.ix_(best, columns)], np.ones(len(columns), bool))
        missed = (matches[..., np.newaxis] != np.arange(len(columns))).all(axis=0)
        classes += [annotated[i].category_id for i in columns]
        shares += (1.0 - missed.mean(axis=0)).tolist()
    by_class = pd.Series(shares, dtype=float).groupby(classes)
    return pd.DataFrame(
        {
            "name": list(names.values()),
            "instances": by_class.size().reindex(list(names), fill_value=0).to_numpy(),
            "mask_ar100_agnostic": by_class.mean().reindex(list(names)).to_numpy(),
        },
        index=pd.Index(list(names), name="category_id"),
    )
