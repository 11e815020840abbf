"""COCO's matching of detections with annotations (https://cocodataset.org/#detection-eval)."""

from __future__ import annotations

import numpy as np

# COCO's IoU thresholds .50, .55, ... .95: the same float values, on which a mask of IoU exactly 0.6
# depends.
THRESHOLDS = np.linspace(0.5, 0.95, 10)

_ALL_THRESHOLDS = np.arange(len(THRESHOLDS))


def match_greedily(ious: np.ndarray, is_object: np.ndarray) -> np.ndarray:
    """Return the annotation that each detection takes at each threshold.

    A detection takes the free object that it overlaps most, the last one of equals. If it overlaps
    none enough, it falls to a crowd region, which any number of detections can share.

    Args:
        ious: [d, g] overlaps, the detections by falling score.
        is_object: [g] bool, False for crowd regions.

    Returns:
        [d, thresholds] indices of annotations, -1 where there is no match.
    """
    matches = np.full((len(ious), len(THRESHOLDS)), -1)
    # The last one of equals comes first.
    objects, crowds = (np.flatnonzero(chosen)[::-1] for chosen in (is_object, ~is_object))
    free = np.ones((len(THRESHOLDS), len(objects)), bool)
    for row in np.flatnonzero(ious.max(axis=1, initial=0.0) >= THRESHOLDS[0]):
        if len(crowds):
            crowd = crowds[ious[row, crowds].argmax()]
            matches[row, ious[row, crowd] >= THRESHOLDS] = crowd
        if len(objects):
            candidates = np.where(free, ious[row, objects], -1.0)
            best = candidates.argmax(axis=1)
            hits = np.flatnonzero(candidates[_ALL_THRESHOLDS, best] >= THRESHOLDS)
            free[hits, best[hits]] = False
            matches[row, hits] = objects[best[hits]]
    return matches
