"""IoUs of detections with the annotations of their images, each computed once for every metric.

::

    overlaps = Overlaps(ground_truth, detections)
    average_precision.per_class_ap(overlaps, "mask")
    agnostic_recall.per_class_agnostic_recall(overlaps)
    matches.match_detections(overlaps, "mask")

An object with a box but no mask is an object for boxes. For masks its pixels are unknown, so it is
neither found nor missed: its box becomes a crowd region, in which detections of its class are
ignored. The overlap with a crowd region is the share of the detection that lies in it.

The overlap of boundaries is the smaller of mask IoU and boundary IoU (Cheng et al., CVPR 2021,
arXiv:2103.16562): the inside of a large object cannot hide a coarse contour.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from faster_coco_eval import mask as rle

from deepmac_ablate.data.masks import Region
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.metrics.boundaries import (
    BOUNDARY_DILATION_RATIO,
    boundary_region,
    region_iou,
)
from deepmac_ablate.evaluation.metrics.ground_truth import Annotation, GroundTruth
from deepmac_ablate.evaluation.metrics.matching import THRESHOLDS

Task = Literal["mask", "boundary", "box"]

MAX_DETECTIONS = 100


class ClassOverlaps(NamedTuple):
    """The overlaps of the detections and annotations of one class in one image.

    Attributes:
        image_id: The id of the image.
        class_id: The id of the class.
        rows: [d] int, the detections by falling score, as indices into `Overlaps.results`.
        ious: [d, g] float, their overlaps with the annotations in the file's order.
        is_object: [g] bool, whether the annotation is an object to find, not a crowd region.
    """

    image_id: int
    class_id: int
    rows: np.ndarray
    ious: np.ndarray
    is_object: np.ndarray


class Overlaps:
    """Detections on the scored images, and their IoUs with the annotations.

    Detections on images that are not scored, or of classes that the dataset lacks, are left out.
    The detections are not modified. IoUs are computed when they are first asked for.

    Attributes:
        ground_truth: The annotations of the scored images.
        results: The detections that count, in the order of the input.
        image_ids: [I] int64, the scored images, ascending.
        class_ids: [C] int64, all classes of the dataset, ascending.
        image: [D] int, the image of each of the results, as an index into `image_ids`.
        category: [D] int, the class of each of the results, as an index into `class_ids`.
        scores: [D] float64.
        ranked: [R] int, the results that count for AP, at most 100 per class and image, as indices
            by class, image and falling score; equal scores in the order of the input.
    """

    def __init__(
        self,
        ground_truth: GroundTruth,
        detections: Iterable[Mapping[str, Any]],
        boundary_dilation_ratio: float = BOUNDARY_DILATION_RATIO,
    ) -> None:
        """Check and rank the detections.

        Args:
            ground_truth: The annotations of the scored images.
            detections: COCO results: `image_id`, `category_id`, `score`, and, depending on the
                task, `segmentation` (RLE of the size of the image, `counts` as bytes or str) or
                `bbox` ([x, y, w, h] in pixels of the original image). If a result has an
                `annotation_id`, its overlap with that object can be read from `boundary_ious`.
            boundary_dilation_ratio: The width of a boundary as a share of the image's diagonal.

        Raises:
            UserError: If a detection is on an unknown image or its score is not finite. Further
                faults are found when a task is asked for: a box that is not finite, and a mask
                whose image has another size.
        """
        self.ground_truth = ground_truth
        self._dilation_ratio = boundary_dilation_ratio
        self.results = _results_that_count(ground_truth, detections)
        self.image_ids = np.array(sorted(ground_truth.image_sizes), np.int64)
        self.class_ids = np.array(list(ground_truth.class_names), np.int64)
        self.image, self.category = (
            np.searchsorted(known, np.array([r[name] for r in self.results], np.int64))
            for known, name in ((self.image_ids, "image_id"), (self.class_ids, "category_id")))
        self.scores = np.array([result["score"] for result in self.results], np.float64)
        for row in np.flatnonzero(~np.isfinite(self.scores)):
            raise UserError(
                f"A detection on image {self.results[row]['image_id']} is not finite: score "
                f"{self.scores[row]}.")
        order = np.lexsort((-self.scores, self.image, self.category))
        pair = (self.category * len(self.image_ids) + self.image)[order]
        rank = np.arange(len(order)) - np.searchsorted(pair, pair)
        self.ranked = order[rank < MAX_DETECTIONS]

    @functools.cached_property
    def rows_by_image(self) -> dict[int, np.ndarray]:
        """The results on each scored image, as indices in the order of the input."""
        order = np.argsort(self.image, kind="stable")
        ends = np.searchsorted(self.image[order], np.arange(1, len(self.image_ids)))
        parts = np.split(order, ends)
        return dict(zip(self.image_ids.tolist(), parts, strict=True))

    @functools.cached_property
    def mask_ious(self) -> dict[int, np.ndarray]:
        """Image id -> [results on the image, its annotations], overlaps of masks."""
        masks = self._checked_masks
        return {
            image_id: _ious([masks[row] for row in self.rows_by_image[image_id]],
                            [a.region for a in annotations],
                            [not a.is_object(masks=True) for a in annotations])
            for image_id, annotations in self.ground_truth.annotations_by_image.items()}

    @functools.cached_property
    def box_ious(self) -> dict[int, np.ndarray]:
        """Image id -> [results on the image, its annotations], overlaps of boxes."""
        return {
            image_id: _ious(self._checked_boxes[self.rows_by_image[image_id]].tolist(),
                            [list(a.box) for a in annotations],
                            [not a.is_object(masks=False) for a in annotations])
            for image_id, annotations in self.ground_truth.annotations_by_image.items()}

    @functools.cached_property
    def boundary_ious(self) -> dict[int, np.ndarray]:
        """Image id -> [results on the image, its annotations], IoUs of boundaries.

        They are computed where a metric depends on them, and NaN elsewhere: for objects of the
        detection's class with a mask IoU of at least the lowest threshold, and for the object that
        a detection names by its `annotation_id`.
        """
        return {
            image_id: self._boundary_ious_of_image(image_id, annotations)
            for image_id, annotations in self.ground_truth.annotations_by_image.items()}

    def _boundary_ious_of_image(
        self, image_id: int, annotations: tuple[Annotation, ...]
    ) -> np.ndarray:
        results = [self.results[row] for row in self.rows_by_image[image_id]]
        ious = np.full((len(results), len(annotations)), np.nan)
        if not ious.size:
            return ious
        classes, named = (
            np.array([result.get(name, -1) for result in results])[:, np.newaxis]
            for name in ("category_id", "annotation_id"))
        needed = (
            (self.mask_ious[image_id] >= THRESHOLDS[0])
            & (classes == [a.category_id for a in annotations])
            | (named == [a.id for a in annotations])
        ) & [a.is_object(masks=True) for a in annotations]

        @functools.cache
        def boundary_of_annotation(column: int) -> Region:
            return boundary_region(annotations[column].region, self._dilation_ratio)

        for row in np.flatnonzero(needed.any(axis=1)):
            found = boundary_region(results[row]["segmentation"], self._dilation_ratio)
            for column in np.flatnonzero(needed[row]).tolist():
                ious[row, column] = region_iou(found, boundary_of_annotation(column))
        return ious

    def areas(self, task: Task) -> np.ndarray:
        """Return the areas of the results in pixels, [D]: of their masks, or of their boxes."""
        if task == "box":
            return self._checked_boxes[:, 2] * self._checked_boxes[:, 3]
        return np.asarray(rle.area(self._checked_masks), np.float64)

    def by_class(self, task: Task) -> Iterator[ClassOverlaps]:
        """Yield the overlaps for each image and class that has both detections and annotations.

        Args:
            task: "mask", "boundary" or "box".
        """
        masks = task != "box"
        for image_id, class_id, rows, places, columns in self._pairs:
            ious = (self.mask_ious if masks else self.box_ious)[image_id][places][:, columns]
            if task == "boundary":
                ious = np.fmin(ious, self.boundary_ious[image_id][places][:, columns])
            annotations = self.ground_truth.annotations_by_image[image_id]
            is_object = np.array([annotations[i].is_object(masks=masks) for i in columns])
            yield ClassOverlaps(image_id, class_id, rows, ious, is_object)

    @functools.cached_property
    def _pairs(self) -> list[tuple[int, int, np.ndarray, np.ndarray, list[int]]]:
        """Image id, class id, ranked results, and rows and columns of both in the image's IoUs."""
        places = np.zeros(len(self.results), int)
        for rows in self.rows_by_image.values():
            places[rows] = np.arange(len(rows))
        columns: dict[tuple[int, int], list[int]] = defaultdict(list)
        for image_id, annotated in self.ground_truth.annotations_by_image.items():
            for column, annotation in enumerate(annotated):
                columns[image_id, annotation.category_id].append(column)
        pair = np.stack([self.category[self.ranked], self.image[self.ranked]])
        starts = np.flatnonzero(np.diff(pair, prepend=-1).any(axis=0))
        found = zip(
            self.image_ids[pair[1, starts]].tolist(), self.class_ids[pair[0, starts]].tolist(),
            np.split(self.ranked, starts[1:]), strict=False)
        return [
            (image_id, class_id, rows, places[rows], columns[image_id, class_id])
            for image_id, class_id, rows in found if (image_id, class_id) in columns]

    @functools.cached_property
    def _checked_masks(self) -> list[Mapping[str, Any]]:
        sizes = self.ground_truth.image_sizes
        for result in self.results:
            size = result["segmentation"]["size"]
            if tuple(size) != sizes[result["image_id"]]:
                raise UserError(
                    f"A detected mask on image {result['image_id']} has height and width "
                    f"{list(size)}, but the image has {list(sizes[result['image_id']])}.")
        return [result["segmentation"] for result in self.results]

    @functools.cached_property
    def _checked_boxes(self) -> np.ndarray:
        boxes = np.array([result["bbox"] for result in self.results], np.float64).reshape(-1, 4)
        for row in np.flatnonzero(~np.isfinite(boxes).all(axis=1)):
            raise UserError(
                f"A detection on image {self.results[row]['image_id']} is not finite: score "
                f"{self.scores[row]}, box {boxes[row].tolist()}.")
        return boxes


def _results_that_count(
    ground_truth: GroundTruth, detections: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    results = []
    for detection in detections:
        image_id = detection["image_id"]
        if image_id in ground_truth.image_sizes:
            if detection["category_id"] in ground_truth.class_names:
                results.append(detection)
        elif image_id not in ground_truth.known_image_ids:
            raise UserError(f"A detection is on image {image_id}, which the ground truth lacks.")
    return results


def _ious(detected: list[Any], annotated: list[Any], is_crowd: list[bool]) -> np.ndarray:
    """Return overlaps [detected, annotated] of RLEs or of boxes [x, y, w, h]."""
    if not detected or not annotated:
        return np.zeros((len(detected), len(annotated)))
    return np.asarray(rle.iou(detected, annotated, [int(crowd) for crowd in is_crowd]))
