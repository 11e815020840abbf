"""AP by class on any sample of the scored images, from stored matches.

Written for thousands of samples: what does not depend on the sample (the ranking, and where in it
something was found) is worked out once. A sample then costs a pass over the detections and one over
the finds, which are few, instead of one over detections x thresholds.

AP is COCO's (https://cocodataset.org/#detection-eval): precision, made to fall with recall,
averaged over 101 recalls and 10 IoU thresholds. Only finds can raise precision, so it is needed at
finds only.
"""

from __future__ import annotations

import numpy as np

from deepmac_ablate.metrics.matches import THRESHOLDS, Matches

# COCO's recalls 0, .01, ... 1, the same float values.
_RECALLS = np.linspace(0.0, 1.0, 101)


class RankedMatches:
    """The detections of every class by falling score, ready for samples of images.

    A curve is one of a class at an IoU threshold: precision over recall.

    Args:
        matches: The matches; equal scores count in the order of image ids.
    """

    def __init__(self, matches: Matches) -> None:
        self._images = len(matches.image_ids)
        self._classes = len(matches.class_ids)
        self._instances = matches.instances
        order = np.lexsort((-matches.scores.astype(float), matches.category))
        self._image = matches.image[order]
        category = matches.category[order]
        self._class_start = np.searchsorted(category, np.arange(self._classes))
        matched, ignored = matches.matched[order], matches.ignored[order]
        curve = category[:, None] * THRESHOLDS + np.arange(THRESHOLDS)
        find_curve, self._find = _by_curve(curve, matched & ~ignored)
        ignored_curve, self._ignored = _by_curve(curve, ignored)
        self._find_image = self._image[self._find]
        self._find_class = find_curve // THRESHOLDS
        self._ignored_image = self._image[self._ignored]
        # Of the finds in a curve those from..until; of the ignored ones of a find's curve, those
        # that are ranked above it.
        curves = np.arange(self._classes * THRESHOLDS)
        self._from = np.searchsorted(find_curve, curves)
        self._until = np.searchsorted(find_curve, curves, "right")
        keys, wanted = (
            c.astype(np.int64) * (len(order) + 1) + rank
            for c, rank in ((ignored_curve, self._ignored), (find_curve, self._find)))
        self._ignored_above = np.searchsorted(keys, wanted)
        self._ignored_from = np.searchsorted(ignored_curve, find_curve)
        # Falls from curve to curve by more than any precision.
        self._apart = 2.0 * (len(curves) - find_curve)

    def average_precision(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Returns the AP of every class on a sample of the images.

        Args:
            weights: [I] how often each image is in the sample, whole numbers; None: once. An image
                that is there twice counts as two images with the same scores.

        Returns:
            [C] AP in [0, 1], NaN where the sample has no instance of a class.
        """
        if weights is None:
            weights = np.ones(self._images)
        weights = np.asarray(weights, float)
        wanted = np.bincount(
            self._instances[:, 1], weights[self._instances[:, 0]], minlength=self._classes)
        found = np.cumsum(weights[self._find_image])
        precision = self._precision(weights, found)
        # The count of finds with which each recall is reached.
        before = _start(found)[self._from].reshape(self._classes, THRESHOLDS, 1)
        counts = before + _least_finds(wanted)[:, None, :]
        at = np.searchsorted(found, counts)
        reached = at < self._until.reshape(self._classes, THRESHOLDS, 1)
        # One more for those that are reached nowhere.
        values = np.append(precision, 0.0)[np.where(reached, at, len(precision))]
        return np.where(wanted > 0, values.mean(axis=(1, 2)), np.nan)

    def _precision(self, weights: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Returns the best precision from each find on, in its curve."""
        detections = _start(np.cumsum(weights[self._image]))
        ignored = _start(np.cumsum(weights[self._ignored_image]))
        curve_start = np.repeat(_start(found)[self._from], self._until - self._from)
        counted = (
            detections[self._find + 1] - detections[self._class_start[self._find_class]]
            - ignored[self._ignored_above] + ignored[self._ignored_from])
        precision = (found - curve_start) / (counted + np.spacing(1))
        falling = np.maximum.accumulate((precision + self._apart)[::-1])[::-1]
        return falling - self._apart


def _by_curve(curve: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns curves and ranks of the chosen entries of [D, T], by curve, the best score first."""
    rank, _ = np.nonzero(chosen)
    curves = curve[chosen]
    order = np.argsort(curves, kind="stable")
    return curves[order], rank[order]


def _start(sums: np.ndarray) -> np.ndarray:
    """Returns cumulative sums with what they start from."""
    return np.concatenate([[0.0], sums])


def _least_finds(wanted: np.ndarray) -> np.ndarray:
    """Returns [C, recalls]: of how many finds the recall is at least each of the recalls.

    A recall is a quotient in floating point, so the product is corrected by comparing quotients.
    """
    total = np.maximum(wanted, 1.0)[:, None]
    least = np.ceil(_RECALLS * total)
    least = np.where((least - 1) / total >= _RECALLS, least - 1, least)
    least = np.where(least / total < _RECALLS, least + 1, least)
    # Recall 0 is reached by anything; its precision is the best there is, which is that of a find.
    return np.maximum(least, 1.0)
