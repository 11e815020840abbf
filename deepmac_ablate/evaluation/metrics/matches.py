"""Matches of detections with instances, from which AP on any sample of the images can be computed.

AP is not a mean over images, as it ranks the detections of all of them. Its value on another sample
of images depends on every detection's score and whether it matched, but not on masks. COCO's
matching is done by image and class, so it is valid for every sample::

    matches = match_detections(Overlaps(ground_truth, detections), "mask")
    RankedMatches(matches).average_precision(weights)

AP with every image once equals that of `per_class_ap`.

`RankedMatches` is made for thousands of samples: everything that does not depend on the sample (the
ranking, and the positions of true positives in it) is computed once. A sample then costs one pass
over the detections and one over the true positives, which are few, instead of one over
detections x thresholds. AP is COCO's (https://cocodataset.org/#detection-eval): precision, made
monotonic in recall, averaged over 101 recalls and 10 IoU thresholds. Only true positives can raise
precision, so it is needed only there.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Literal

import numpy as np

from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics.matching import THRESHOLDS, match_greedily
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps

_BITS = ("matched", "ignored")
# COCO's recalls 0, .01, ... 1, the same float values.
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclasses.dataclass(frozen=True)
class Matches:
    """The detections of one box source and their matches in COCO's evaluation.

    Detections are ordered by class, image and falling score. I images, C classes, D detections,
    T IoU thresholds, G instances.

    Attributes:
        image_ids: [I] int64, the scored images, ascending.
        class_ids: [C] int64, all classes of the dataset, ascending.
        image: [D] int32, the image of each detection, as an index into `image_ids`.
        category: [D] int32, the class of each detection, as an index into `class_ids`.
        scores: [D] float32 where that is exact, else float64.
        matched: [D, T] bool, whether the detection matched an object at each IoU threshold.
        ignored: [D, T] bool, whether the detection does not count there, as it lies on a crowd.
        instances: [G, 2] int32, image and class of each instance to find, as indices.
    """

    image_ids: np.ndarray
    class_ids: np.ndarray
    image: np.ndarray
    category: np.ndarray
    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    instances: np.ndarray

    def to_bytes(self) -> bytes:
        """Return a compressed npz file: the fields by name, bool as single bits."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {name: np.packbits(fields[name]) for name in _BITS}
        file = io.BytesIO()
        np.savez_compressed(file, **fields)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Matches:
        """Return the matches stored by `to_bytes`.

        Raises:
            UserError: If the content is invalid; the message names the file, `where`.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                fields = {field.name: file[field.name] for field in dataclasses.fields(cls)}
            shape = (len(fields["image"]), len(THRESHOLDS))
            for name in _BITS:
                bits = np.unpackbits(fields[name], count=shape[0] * shape[1])
                fields[name] = bits.astype(bool).reshape(shape)
            _check_arrays(fields)
        except (
            ValueError, LookupError, EOFError, OSError, TypeError, NotImplementedError,
            RuntimeError, AttributeError, MemoryError, zipfile.BadZipFile, zlib.error,
        ) as error:
            raise UserError(
                f"{where} is broken: it does not hold matches ({error}); delete it and evaluate "
                "the trial again.") from error
        return cls(**fields)


def _check_arrays(fields: Mapping[str, np.ndarray]) -> None:
    """Raise a ValueError unless the arrays of `Matches` fit each other."""
    images, classes = len(fields["image_ids"]), len(fields["class_ids"])
    for name, shape in (
            ("image_ids", (images,)), ("class_ids", (classes,)), ("image", (len(fields["image"]),)),
            ("category", fields["image"].shape), ("scores", fields["image"].shape),
            ("instances", (len(fields["instances"]), 2))):
        if fields[name].shape != shape:
            raise ValueError(f"{name} has the shape {fields[name].shape} instead of {shape}")
        if fields[name].dtype.kind not in ("f" if name == "scores" else "iu"):
            raise ValueError(f"{name} has the type {fields[name].dtype}")
    for name in ("image_ids", "class_ids"):
        if (np.diff(fields[name].astype(float)) <= 0).any():
            raise ValueError(f"{name} are not ascending")
    instances = fields["instances"]
    for name, values, size in (
            ("image", fields["image"], images), ("category", fields["category"], classes),
            ("instances", instances[:, 0], images), ("instances", instances[:, 1], classes)):
        if len(values) and not 0 <= values.min() <= values.max() < size:
            raise ValueError(f"{name} holds an index that does not exist")
    if not ((fields["scores"] >= 0) & (fields["scores"] <= 1)).all():
        raise ValueError("scores must be from 0 to 1")


def match_detections(overlaps: Overlaps, task: Literal["mask", "box"]) -> Matches:
    """Return the matches of detections, by the conventions of `per_class_ap`.

    Args:
        overlaps: The detections and their overlaps with the annotations.
        task: "mask" or "box".

    Raises:
        UserError: If a detection is invalid, see `Overlaps`.
    """
    matched, ignored = np.zeros((2, len(overlaps.results), len(THRESHOLDS)), bool)
    for pair in overlaps.by_class(task):
        matches = match_greedily(pair.ious, pair.is_object)
        matched[pair.rows] = matches >= 0
        ignored[pair.rows] = matched[pair.rows] & ~pair.is_object[matches]
    to_find = [
        (a.image_id, a.category_id) for a in overlaps.ground_truth.annotations
        if a.is_object(masks=task != "box")]
    to_find = np.array(to_find, np.int64).reshape(-1, 2)
    ranked = overlaps.ranked
    return Matches(
        image_ids=overlaps.image_ids,
        class_ids=overlaps.class_ids,
        image=overlaps.image[ranked].astype(np.int32),
        category=overlaps.category[ranked].astype(np.int32),
        scores=_compact(overlaps.scores[ranked]),
        matched=matched[ranked],
        ignored=ignored[ranked],
        instances=np.stack(
            [_indices(to_find[:, 0], overlaps.image_ids),
             _indices(to_find[:, 1], overlaps.class_ids)], axis=1),
    )


class RankedMatches:
    """The detections of every class by falling score, prepared for AP on samples of images.

    There is a curve of precision over recall for each class and IoU threshold. A "find" is a true
    positive.

    Args:
        matches: The matches; equal scores are ranked by image id.
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
        curve = category[:, None] * len(THRESHOLDS) + np.arange(len(THRESHOLDS))
        find_curve, self._find = _by_curve(curve, matched & ~ignored)
        ignored_curve, self._ignored = _by_curve(curve, ignored)
        self._find_image = self._image[self._find]
        self._find_class = find_curve // len(THRESHOLDS)
        self._ignored_image = self._image[self._ignored]
        # The finds of a curve are those from `_from` to `_until`. `_ignored_above` counts the
        # ignored detections that are ranked above a find in its curve.
        curves = np.arange(self._classes * len(THRESHOLDS))
        self._from = np.searchsorted(find_curve, curves)
        self._until = np.searchsorted(find_curve, curves, "right")
        keys, wanted = (
            c.astype(np.int64) * (len(order) + 1) + rank
            for c, rank in ((ignored_curve, self._ignored), (find_curve, self._find)))
        self._ignored_above = np.searchsorted(keys, wanted)
        self._ignored_from = np.searchsorted(ignored_curve, find_curve)
        # An offset that falls from curve to curve by more than any precision.
        self._apart = 2.0 * (len(curves) - find_curve)

    def average_precision(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the AP of every class on a sample of the images.

        Args:
            weights: [I] whole numbers, the times that each image is in the sample; None for once
                each. An image that is in it twice counts as two images with the same scores.

        Returns:
            [C] AP in [0, 1], NaN for a class without instances in the sample.
        """
        if weights is None:
            weights = np.ones(self._images)
        weights = np.asarray(weights, float)
        wanted = np.bincount(
            self._instances[:, 1], weights[self._instances[:, 0]], minlength=self._classes)
        found = np.cumsum(weights[self._find_image])
        precision = self._precision(weights, found)
        # The number of finds with which each recall is reached.
        before = _from_zero(found)[self._from].reshape(self._classes, len(THRESHOLDS), 1)
        counts = before + _least_finds(wanted)[:, None, :]
        at = np.searchsorted(found, counts)
        reached = at < self._until.reshape(self._classes, len(THRESHOLDS), 1)
        # One more entry for recalls that are never reached.
        values = np.append(precision, 0.0)[np.where(reached, at, len(precision))]
        return np.where(wanted > 0, values.mean(axis=(1, 2)), np.nan)

    def _precision(self, weights: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Return, for each find, the best precision at it or later in its curve."""
        detections = _from_zero(np.cumsum(weights[self._image]))
        ignored = _from_zero(np.cumsum(weights[self._ignored_image]))
        curve_start = np.repeat(_from_zero(found)[self._from], self._until - self._from)
        counted = (
            detections[self._find + 1] - detections[self._class_start[self._find_class]]
            - ignored[self._ignored_above] + ignored[self._ignored_from])
        precision = (found - curve_start) / (counted + np.spacing(1))
        falling = np.maximum.accumulate((precision + self._apart)[::-1])[::-1]
        return falling - self._apart


def _indices(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.searchsorted(known, values).astype(np.int32)


def _compact(scores: np.ndarray) -> np.ndarray:
    """Return scores as float32 if that is exact."""
    halved = scores.astype(np.float32)
    return halved if np.array_equal(halved, scores) else scores


def _by_curve(curve: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return curves and ranks of the chosen entries of [D, T], by curve, then by falling score."""
    rank, _ = np.nonzero(chosen)
    curves = curve[chosen]
    order = np.argsort(curves, kind="stable")
    return curves[order], rank[order]


def _from_zero(sums: np.ndarray) -> np.ndarray:
    """Return cumulative sums with the 0 that they start from."""
    return np.concatenate([[0.0], sums])


def _least_finds(wanted: np.ndarray) -> np.ndarray:
    """Return [C, recalls]: the smallest number of finds that reaches each of COCO's recalls.

    Recall is a floating-point quotient, so the product is corrected by comparing quotients.
    """
    total = np.maximum(wanted, 1.0)[:, None]
    least = np.ceil(_RECALLS * total)
    least = np.where((least - 1) / total >= _RECALLS, least - 1, least)
    least = np.where(least / total < _RECALLS, least + 1, least)
    # Recall 0 is always reached; its precision is the best of all, which is that of a find.
    return np.maximum(least, 1.0)
