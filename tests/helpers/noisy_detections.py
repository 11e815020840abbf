"""Faulty detections of many kinds, made from annotations, and pycocotools as the reference."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# pycocotools' `stats` by our metric.
STATS = {"ap": 0, "ap50": 1, "ap75": 2, "ap_s": 3, "ap_m": 4, "ap_l": 5, "ar100": 8}


def quiet_coco(annotations: dict[str, Any]) -> COCO:
    """Return pycocotools' view of some annotations, into which it may write."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = annotations
        coco.createIndex()
    return coco


def oracle(
    annotations: dict[str, Any],
    detections: list[dict[str, Any]],
    image_ids: Iterable[int],
    class_ids: Iterable[int],
    task: str,
    use_classes: bool = True,
) -> dict[str, float]:
    """Return pycocotools' own numbers for some classes, -1 as NaN."""
    results = results_of_one_kind(detections, task)
    return pycocotools_numbers(
        copy.deepcopy(annotations), results, image_ids, class_ids, task, use_classes)


def results_of_one_kind(detections: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    """Return what a result file of masks (or boxes) holds, in new dicts."""
    unwanted = "segmentation" if task == "box" else "bbox"
    return [{k: v for k, v in d.items() if k != unwanted} for d in detections]


def pycocotools_numbers(
    annotations: dict[str, Any],
    results: list[dict[str, Any]],
    image_ids: Iterable[int],
    class_ids: Iterable[int],
    task: str,
    use_classes: bool = True,
) -> dict[str, float]:
    """Evaluate with pycocotools, which modifies both inputs."""
    truth = quiet_coco(annotations)
    with contextlib.redirect_stdout(io.StringIO()):
        kind = BoundaryEvaluation if task == "boundary" else COCOeval
        evaluation = kind(truth, truth.loadRes(results), "bbox" if task == "box" else "segm")
        evaluation.params.useCats = int(use_classes)
        evaluation.params.imgIds = sorted(image_ids)
        evaluation.params.catIds = sorted(class_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = {f"{task}_{metric}": evaluation.stats[i] for metric, i in STATS.items()}
    return {name: np.nan if value < 0 else float(value) for name, value in numbers.items()}


class BoundaryEvaluation(COCOeval):
    """pycocotools' evaluation with the smaller of mask IoU and boundary IoU (arXiv:2103.16562).

    Boundaries are made of masks by eroding them in OpenCV, one pixel at a time.
    """

    def computeIoU(self, image_id: int, class_id: int) -> Any:
        """Return IoUs [detections by score, annotations], like the method that it overrides."""
        ious = super().computeIoU(image_id, class_id)
        if len(ious) == 0:
            return ious
        truth, found = self._gts[image_id, class_id], self._dts[image_id, class_id]
        order = np.argsort([-d["score"] for d in found], kind="mergesort")
        kept = [found[i] for i in order[: self.params.maxDets[-1]]]
        boundaries = [[boundary(rle.decode(a["segmentation"])) for a in some]
                      for some in (kept, truth)]
        for column, annotation in enumerate(truth):
            if not annotation["iscrowd"]:
                for row in range(len(kept)):
                    both = boundaries[0][row] & boundaries[1][column]
                    either = boundaries[0][row] | boundaries[1][column]
                    iou = both.sum() / either.sum() if either.any() else 0.0
                    ious[row, column] = min(ious[row, column], iou)
        return ious


def boundary(mask: np.ndarray, ratio: float = 0.02) -> np.ndarray:
    """Return where a mask is within a share of the image's diagonal from its contour."""
    # A mask that the image's border cuts has its contour there.
    eroded = np.pad(mask, 1)
    for _ in range(max(1, round(ratio * float(np.hypot(*mask.shape))))):
        eroded = cv2.erode(eroded, np.ones((3, 3), np.uint8))
    return (mask > 0) & (eroded[1:-1, 1:-1] == 0)


def noisy_detections(annotations: dict[str, Any], seed: int = 0) -> list[dict[str, Any]]:
    """Return detections of most annotations, with masks and boxes that are somewhat wrong.

    Some are of the wrong class, some detected twice, some of crowds, some of nothing; scores are
    rounded so that many tie; the first image has 150 detections of one class; masks come with
    `counts` as bytes and as str.
    """
    rng = np.random.default_rng(seed)
    coco = quiet_coco(annotations)
    class_ids = sorted(coco.cats)
    sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
    detections: list[dict[str, Any]] = []

    def add(image_id: int, class_id: int, box: np.ndarray, mask: np.ndarray) -> None:
        encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
        if rng.random() < 0.5:
            encoded["counts"] = encoded["counts"].decode()
        detections.append(
            {
                "image_id": image_id,
                "category_id": int(class_id),
                "bbox": [float(x) for x in box],
                "score": round(float(rng.random()), 1),
                "segmentation": encoded,
            }
        )

    for annotation in annotations["annotations"]:
        if rng.random() < 0.2:
            continue
        for _ in range(1 + (rng.random() < 0.2)):
            wrong = rng.random() < 0.15
            class_id = rng.choice(class_ids) if wrong else annotation["category_id"]
            box = np.array(annotation["bbox"]) * rng.uniform(0.9, 1.1, 4)
            add(annotation["image_id"], class_id, box, shifted(coco.annToMask(annotation), rng))
    crowded = annotations["images"][0]["id"]
    boxes = [(crowded, annotations["annotations"][0]["category_id"])] * 150
    boxes += [(int(rng.choice(list(sizes))), rng.choice(class_ids)) for _ in range(200)]
    for image_id, class_id in boxes:
        box = random_box(sizes[image_id], rng)
        add(image_id, class_id, box, filled(box, sizes[image_id]))
    order = rng.permutation(len(detections))
    return [detections[i] for i in order]


def shifted(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a mask moved by up to a tenth of its extent: IoU mostly in 0.5..1."""
    rows, columns = np.nonzero(mask)
    extent = (np.ptp(rows), np.ptp(columns)) if rows.size else (0, 0)
    by = [int(rng.integers(-e // 10, e // 10 + 1)) for e in extent]
    return np.roll(mask, by, axis=(0, 1))


def random_box(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a box [x, y, w, h] of at least one pixel inside an image [height, width]."""
    height, width = size
    x, y = rng.uniform(0, width - 2), rng.uniform(0, height - 2)
    return np.array([x, y, rng.uniform(1, width - x), rng.uniform(1, height - y)])


def filled(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of a box."""
    x, y, w, h = np.round(box).astype(int)
    mask = np.zeros(size, np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask
