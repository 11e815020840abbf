"""Metrics of one's own, beside the built-in ones.

A class is derived from `ObjectMetric` (a number for each mask in a given box) or from `ClassMetric`
(a number for each class, from predictions and their overlaps with the annotations), registered with
gin and listed::

    Evaluation.metrics = [@PixelRecall()]

Its values are stored, averaged over classes and shown like those of the built-in metrics. They must
be in [0, 1], as tables are in percent: divide a distance by the size of the object, for instance.
"""

from __future__ import annotations

import abc
import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from deepmac_ablate.data.masks import Region, decode_region
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics import average_precision, mask_iou, summary
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps

_BUILT_IN = (
    *(f"{task}_{name}" for task in ("mask", "boundary", "box")
      for name in average_precision.METRICS),
    *mask_iou.AREAS, *mask_iou.REFERENCES, *summary.OVER_INSTANCES, *average_precision.DESCRIPTION,
    "boundary_iou", "iou_instances", "reading", "image_id", "category_id", "annotation_id", "area")
# For rounding errors.
_MARGIN = 1e-6


class Metric:
    """A further metric; derive classes from `ObjectMetric` or `ClassMetric`.

    Attributes:
        name: The name of its columns and scalars, such as "pixel_recall".
    """

    name: str = ""


class ObjectMetric(Metric, abc.ABC):
    """A metric of each mask in a given box; that of a class is the mean over its objects.

    It is not computed for detections, which may be of no object, or several of one.
    """

    @abc.abstractmethod
    def score(self, predicted: np.ndarray, annotated: np.ndarray) -> float:
        """Compare a predicted mask with the annotated one.

        Args:
            predicted: The predicted mask, [h, w] bool, in pixels of the original image, cut out at
                the smallest rectangle that holds both masks.
            annotated: The annotated mask in the same rectangle, [h, w] bool.

        Returns:
            A number in [0, 1], or NaN if it is undefined for this object.
        """


class ClassMetric(Metric, abc.ABC):
    """A metric of each class, computed for detections and for masks in given boxes."""

    @abc.abstractmethod
    def per_class(self, overlaps: Overlaps) -> pd.Series:
        """Compute the metric for every class.

        Args:
            overlaps: The predictions of one box source, their IoUs with the annotations
                (`overlaps.by_class`), and the annotations (`overlaps.ground_truth`).
                `matches.match_detections(overlaps, "mask")` matches the two as COCO does.

        Returns:
            Numbers in [0, 1] or NaN, indexed by category id; a missing class has no value.
        """


def check_metrics(metrics: Sequence[Metric]) -> None:
    """Raise a UserError unless each metric has a name of its own."""
    names = [metric.name for metric in metrics]
    for metric, name in zip(metrics, names, strict=True):
        cls = type(metric).__name__
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise UserError(
                f"{cls}.name must be lower-case letters, digits and underscores, such as "
                f"'pixel_recall', got {name!r}.")
        if name in _BUILT_IN or names.count(name) > 1:
            raise UserError(
                f"{cls}.name = {name!r} is the name of another metric; choose a name of its own.")


def score_objects(metrics: Sequence[Metric], overlaps: Overlaps) -> pd.DataFrame:
    """Return the values of the `ObjectMetric`s for every object that has a mask.

    Args:
        metrics: Metrics of any kind.
        overlaps: Those of masks in given boxes, as for `mask_iou.instance_ious`.

    Returns:
        One row per annotated mask, in the annotations' order, and one column per metric.

    Raises:
        UserError: If a value is not in [0, 1].
    """
    own = [metric for metric in metrics if isinstance(metric, ObjectMetric)]
    predicted = {result["annotation_id"]: result["segmentation"] for result in overlaps.results}
    rows = []
    for annotation in overlaps.ground_truth.objects if own else ():
        if annotation.has_mask:
            masks = _cut_out(decode_region(predicted[annotation.id]),
                             decode_region(annotation.region))
            place = f"annotation {annotation.id}"
            rows.append([_checked(metric, metric.score(*masks), place) for metric in own])
    return pd.DataFrame(rows, columns=[metric.name for metric in own], dtype=float)


def score_classes(metrics: Sequence[Metric], overlaps: Overlaps) -> pd.DataFrame:
    """Return the values of the `ClassMetric`s, with one row per class of the dataset.

    Raises:
        UserError: If a metric does not return a series, or a value is not in [0, 1].
    """
    names = overlaps.ground_truth.class_names
    table = pd.DataFrame(index=pd.Index(list(names), name="category_id"))
    for metric in metrics:
        if isinstance(metric, ClassMetric):
            values = metric.per_class(overlaps)
            if not isinstance(values, pd.Series):
                raise UserError(
                    f"{type(metric).__name__}.per_class must return a pandas.Series by category "
                    f"id, got a {type(values).__name__}.")
            if unknown := sorted(set(values.index) - set(names)):
                raise UserError(
                    f"{type(metric).__name__}.per_class must return a value by category id, but "
                    f"the dataset has no class {unknown[0]!r}.")
            table[metric.name] = [
                _checked(metric, values.get(class_id, math.nan), f"class {names[class_id]}")
                for class_id in names]
    return table


def _checked(metric: Metric, value: float, place: str) -> float:
    """Return a value of a metric as a float.

    Raises:
        UserError: If it is not in [0, 1].
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.inf
    if math.isnan(number) or -_MARGIN <= number <= 1 + _MARGIN:
        return min(max(number, 0.0), 1.0)
    raise UserError(
        f"The metric {metric.name} ({type(metric).__name__}) must be from 0 to 1, or NaN where it "
        f"is undefined, got {value!r} for {place}.")


def _cut_out(*regions: Region) -> list[np.ndarray]:
    """Return masks in the smallest rectangle that holds them all; [1, 1] if all are empty."""
    full = [region for region in regions if region.pixels.size]
    left, top = (min((getattr(r, name) for r in full), default=0) for name in ("x", "y"))
    right = max((r.x + r.pixels.shape[1] for r in full), default=1)
    bottom = max((r.y + r.pixels.shape[0] for r in full), default=1)
    masks = [np.zeros((bottom - top, right - left), bool) for _ in regions]
    for mask, region in zip(masks, regions, strict=True):
        height, width = region.pixels.shape
        mask[region.y - top : region.y - top + height,
             region.x - left : region.x - left + width] = region.pixels
    return masks
