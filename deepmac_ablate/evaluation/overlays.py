"""Predictions drawn beside the ground truth, on a few images that are the same for every trial."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from deepmac_ablate import class_splits
from deepmac_ablate.data import drawing
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.evaluation.metrics.ground_truth import Annotation, GroundTruth
from deepmac_ablate.evaluation.metrics.matching import match_greedily
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps

# Detections below this score are not drawn.
_MIN_SCORE = 0.3


class Outcomes(NamedTuple):
    """Detections compared with the annotations, as AP does at its lowest threshold.

    Attributes:
        detections: For each detection "true" if its mask has an IoU of at least 0.5 with that of an
            object of its class that no better scored detection has taken, "false" if not, and
            None if it does not count: it lies on a crowd region or on an object without a mask.
        found: Ids of the annotations that a detection has taken.
    """

    detections: list[drawing.Outcome | None]
    found: frozenset[int]


def draw_overlays(
    data: EvaluationData,
    ground_truth: GroundTruth,
    predictions: Mapping[str, Sequence[Mapping[str, Any]]],
    seen: class_splits.Split,
    count: int,
) -> dict[int, Image.Image]:
    """Draw a row per image: the annotations, then the predictions of each box source.

    Detections are followed by a picture of the true and false ones among them and of the missed
    objects, see `Outcomes`. Masks in given boxes show the pixels that they share with the
    annotation, and those that only one of both has.

    Args:
        data: The images.
        ground_truth: The annotations of the images.
        predictions: Box source -> COCO results, as in `evaluator.EvaluationResult`.
        seen: The classes that count as seen; the boxes of all others are dashed.
        count: The number of images to draw; fewer if the dataset has fewer.

    Returns:
        Pictures by image id.
    """
    roles = class_splits.roles(seen, data.info.categories)
    chosen = choose_images(ground_truth, roles, count)
    drawn: dict[int, Image.Image] = {}
    detections = [result for result in predictions.get("detections", ())
                  if result["image_id"] in chosen and result["score"] >= _MIN_SCORE]
    outcomes = judge_detections(ground_truth, detections)
    for image_id, pixels in data.images(chosen):
        painter = _Painter(pixels, ground_truth, roles)
        objects = ground_truth.objects_by_image[image_id]
        annotations = [_as_result(each, pixels.shape[:2]) for each in objects]
        pictures = {"annotations": painter.draw(annotations)}
        for source, results in predictions.items():
            if source != "detections":
                pictures[f"masks in {source} boxes"] = painter.draw(
                    [result for result in results if result["image_id"] == image_id],
                    annotations=annotations)
                continue
            shown = [(result, outcome) for result, outcome in zip(
                detections, outcomes.detections, strict=True) if result["image_id"] == image_id]
            pictures[source] = painter.draw([result for result, _ in shown], scores=True)
            missed = [each for each, annotation in zip(annotations, objects, strict=True)
                      if annotation.has_mask and annotation.id not in outcomes.found]
            shown += [(each, "missed") for each in missed]
            pictures[_count_outcomes([outcome for _, outcome in shown])] = painter.draw(
                [result for result, _ in shown], outcomes=[outcome for _, outcome in shown])
        captions = [f"{image_id}: {title}" for title in pictures]
        drawn[image_id] = drawing.contact_sheet(list(pictures.values()), len(pictures), captions)
    return {image_id: drawn[image_id] for image_id in chosen}


def judge_detections(
    ground_truth: GroundTruth, detections: Sequence[Mapping[str, Any]]
) -> Outcomes:
    """Compare detections with the annotations of their images.

    Args:
        ground_truth: The annotations.
        detections: COCO results with `image_id`, `category_id`, `score` and `segmentation`.
    """
    overlaps = Overlaps(ground_truth, detections)
    judged: dict[int, drawing.Outcome | None] = {
        id(overlaps.results[row]): "false" for row in overlaps.ranked.tolist()}
    found = set()
    for pair in overlaps.by_class("mask"):
        of_class = [each.id for each in ground_truth.annotations_by_image[pair.image_id]
                    if each.category_id == pair.class_id]
        matches = match_greedily(pair.ious, pair.is_object)[:, 0]
        for row, match in zip(pair.rows.tolist(), matches.tolist(), strict=True):
            if match >= 0:
                judged[id(overlaps.results[row])] = "true" if pair.is_object[match] else None
                found.add(of_class[match])
    return Outcomes([judged.get(id(each)) for each in detections], frozenset(found))


def choose_images(
    ground_truth: GroundTruth, roles: Mapping[int, class_splits.Role], count: int
) -> list[int]:
    """Choose random images, the same ones for every model, preferring those with novel objects.

    Args:
        ground_truth: The annotations of all images.
        roles: Class id -> role.
        count: The number of images to choose; fewer if there are fewer.

    Returns:
        Image ids in the order of choice.
    """
    with_novel = {a.image_id for a in ground_truth.objects if roles.get(a.category_id) == "novel"}
    ids = sorted(ground_truth.image_sizes)
    random.Random(0).shuffle(ids)
    return sorted(ids, key=lambda image_id: image_id not in with_novel)[:count]


def to_png(picture: Image.Image) -> bytes:
    """Return a picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


class _Painter:
    """Draws results on an image.

    Args:
        pixels: [height, width, 3] uint8.
        ground_truth: The annotations, for the names of classes.
        roles: Class id -> role.
    """

    def __init__(
        self, pixels: np.ndarray, ground_truth: GroundTruth,
        roles: Mapping[int, class_splits.Role],
    ) -> None:
        self._pixels = pixels
        self._names = ground_truth.class_names
        self._roles = roles

    def draw(
        self,
        results: Sequence[Mapping[str, Any]],
        *,
        scores: bool = False,
        outcomes: Sequence[drawing.Outcome | None] | None = None,
        annotations: Sequence[Mapping[str, Any]] = (),
    ) -> Image.Image:
        """Return a picture of COCO results.

        Args:
            results: The results.
            scores: True writes the scores.
            outcomes: The outcome of each result; None gives each a colour of its own.
            annotations: Annotations to compare masks with, by `annotation_id`.
        """
        masks = {each["annotation_id"]: rle.decode(each["segmentation"])
                 for each in annotations if each["has_mask"]}
        classes = [result["category_id"] for result in results]
        return drawing.draw_instances(
            self._pixels,
            np.array([_yxyx(result["bbox"]) for result in results]).reshape(-1, 4),
            np.array([rle.decode(result["segmentation"]) for result in results]).reshape(
                -1, *self._pixels.shape[:2]),
            [self._names.get(class_id, str(class_id)) for class_id in classes],
            [self._roles.get(class_id) for class_id in classes],
            [result["score"] for result in results] if scores else None,
            outcomes=outcomes,
            annotated=[masks.get(result.get("annotation_id")) for result in results]
            if annotations else None)


def _count_outcomes(outcomes: Sequence[drawing.Outcome | None]) -> str:
    """Return a caption such as "3 true, 1 false, 2 missed (mask IoU 0.5)"."""
    count = Counter(outcomes)
    return ", ".join(f"{count[name]} {name}" for name in drawing.OUTCOMES) + " (mask IoU 0.5)"


def _as_result(annotation: Annotation, size: tuple[int, int]) -> dict[str, Any]:
    """Return an annotation as a COCO result, with an empty mask if it has a box only."""
    mask = annotation.region if annotation.has_mask else rle.encode(
        np.zeros(size, np.uint8, order="F"))
    return {
        "annotation_id": annotation.id, "category_id": annotation.category_id,
        "bbox": annotation.box, "segmentation": mask, "has_mask": annotation.has_mask}


def _yxyx(bbox: Sequence[float]) -> list[float]:
    x, y, width, height = bbox
    return [y, x, y + height, x + width]
