"""Predictions drawn beside the ground truth, on a few images that are the same for every trial."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from deepmac_ablate import class_splits
from deepmac_ablate.data import drawing
from deepmac_ablate.data.evaluation_data import EvaluationData
from deepmac_ablate.evaluation.metrics.ground_truth import Annotation, GroundTruth

# Detections below this score are not drawn.
_MIN_SCORE = 0.3


def draw_overlays(
    data: EvaluationData,
    ground_truth: GroundTruth,
    predictions: Mapping[str, Sequence[Mapping[str, Any]]],
    seen: class_splits.Split,
    count: int,
) -> dict[int, Image.Image]:
    """Draw a row per image: the annotations, then the predictions of each box source.

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
    sources = {
        "annotations": [
            _as_result(annotation, *ground_truth.image_sizes[image_id])
            for image_id in chosen for annotation in ground_truth.objects_by_image[image_id]],
        **{name if name == "detections" else f"masks in {name} boxes": results
           for name, results in predictions.items()},
    }
    drawn: dict[int, Image.Image] = {}
    for image_id, pixels in data.images(chosen):
        pictures = []
        for source, results in sources.items():
            shown = [r for r in results if r["image_id"] == image_id
                     and r.get("score", 1.0) >= _MIN_SCORE]
            pictures.append(drawing.draw_instances(
                pixels,
                np.array([_yxyx(r["bbox"]) for r in shown]).reshape(-1, 4),
                np.array([rle.decode(r["segmentation"]) for r in shown]).reshape(
                    -1, *pixels.shape[:2]),
                [ground_truth.class_names.get(r["category_id"], str(r["category_id"]))
                 for r in shown],
                [roles.get(r["category_id"]) for r in shown],
                [r["score"] for r in shown] if source == "detections" else None,
            ))
        captions = [f"{image_id}: {source}" for source in sources]
        drawn[image_id] = drawing.contact_sheet(pictures, len(sources), captions)
    return {image_id: drawn[image_id] for image_id in chosen}


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


def _as_result(annotation: Annotation, height: int, width: int) -> dict[str, Any]:
    """Return an annotation as a COCO result, with an empty mask if it has a box only."""
    mask = annotation.region if annotation.has_mask else rle.encode(
        np.zeros((height, width), np.uint8, order="F"))
    return {
        "image_id": annotation.image_id, "category_id": annotation.category_id,
        "bbox": annotation.box, "segmentation": mask}


def _yxyx(bbox: Sequence[float]) -> list[float]:
    x, y, width, height = bbox
    return [y, x, y + height, x + width]
