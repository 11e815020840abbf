"""Evaluation of Model Garden and ours, from the same raw outputs of a model.

Both get 100 detections for each of the 156 images of coco_tiny, as a model puts them out: boxes in
the resized image, classes, scores, masks of 28 x 28 probabilities. 60 of them are of annotated
objects, with errors that grow from one to the next; the rest are of nothing. Upstream is Model
Garden's `COCOEvaluator` with the settings of its DeepMAC task. It has neither boundary AP nor
class-agnostic recall: the second row compares its time without them to ours with them.

Where both define a number it must agree to 1e-6, or the comparison fails: all but box AP by size,
as upstream takes the area of a false detection's mask for that of its box.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from tests.benchmarks.measuring import Row, Worker, compare
from tests.helpers import coco_tiny, noisy_detections

DETECTIONS, CELLS, SIDE, BATCH = 100, 28, 1024, 4
# Our metrics by upstream's.
SAME = {
    **{f"{prefix}{theirs}": f"{task}_{ours}" for prefix, task in (("", "box"), ("mask_", "mask"))
       for theirs, ours in (
           ("AP", "ap"), ("AP50", "ap50"), ("AP75", "ap75"), ("ARmax100", "ar100"))},
    "mask_APs": "mask_ap_s", "mask_APm": "mask_ap_m", "mask_APl": "mask_ap_l",
}

Numbers = dict[str, float]


class Outputs(NamedTuple):
    """Raw outputs of a model for one image; the arguments of `predictor.coco_results`."""

    image_id: int
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    masks: np.ndarray
    image_info: np.ndarray


def draw_outputs(document: dict[str, Any], number: int) -> list[Outputs]:
    """Draw the raw outputs for every image of a COCO document, so many detections for each."""
    coco = noisy_detections.quiet_coco(document)
    rng = np.random.default_rng(0)
    outputs = []
    for image in document["images"]:
        size = np.array([image["height"], image["width"]])
        objects = [a for a in coco.imgToAnns[image["id"]] if not a["iscrowd"]]
        boxes, masks = np.zeros((number, 4)), np.zeros((number, CELLS, CELLS), np.float32)
        classes = rng.choice(sorted(coco.cats), number)
        for i in range(number):
            if objects and i < 0.6 * number:
                found = objects[i % len(objects)]
                if rng.random() < 0.8:
                    classes[i] = found["category_id"]
                x, y, width, height = found["bbox"]
                low, extent = np.array([y, x]), np.array([height, width])
                error = 0.04 * (1 + i / len(objects) / 2)
                low = np.clip(low + rng.normal(0, error, 2) * extent, 0, size - 2)
                extent = np.clip(extent * (1 + rng.normal(0, error, 2)), 1, size - low)
                top, left, bottom, right = [*low.astype(int), *np.ceil(low + extent).astype(int)]
                inside = coco.annToMask(found)[top:bottom, left:right].astype(np.float32)
                shape = cv2.resize(inside, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
            else:
                extent = np.exp(rng.uniform(np.log(8), np.log(size * 0.6)))
                low = rng.uniform(0, size - extent)
                across = np.linspace(-1, 1, CELLS)
                shape = 1 / (1 + np.exp(6 * (across**2 + across[:, np.newaxis] ** 2 - 0.8)))
            ripple = cv2.GaussianBlur(rng.random((CELLS, CELLS)), (0, 0), 3)
            masks[i] = np.clip(0.8 * shape + 0.1 + 4 * (ripple - 0.5), 0, 1)
            boxes[i] = [*low, *(low + extent)]
        scale = SIDE / size.max()
        outputs.append(Outputs(
            image["id"], (boxes * scale).astype(np.float32), classes.astype(np.int32),
            np.sort(rng.random(number))[::-1].astype(np.float32), masks,
            np.array([size, [SIDE, SIDE], [scale, scale], [0, 0]], np.float32)))
    return outputs


def build_upstream(annotations: str) -> Callable[[], Numbers]:
    """Draw the outputs, as the batches of predictions that upstream's evaluator is given."""
    import tensorflow as tf
    from official.vision.evaluation import coco_evaluator

    outputs = draw_outputs(json.loads(Path(annotations).read_text()), DETECTIONS)
    batches = []
    for at in range(0, len(outputs), BATCH):
        ids, boxes, classes, scores, masks, info = (
            tf.stack(values) for values in zip(*outputs[at : at + BATCH], strict=True))
        batches.append({
            "source_id": ids, "image_info": info, "detection_boxes": boxes,
            "detection_classes": classes, "detection_scores": scores, "detection_masks": masks,
            "num_detections": tf.fill(tf.shape(ids), DETECTIONS)})

    def evaluate() -> Numbers:
        # pycocotools prints its progress.
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator = coco_evaluator.COCOEvaluator(
                annotations, include_mask=True, per_category_metrics=True)
            for batch in batches:
                evaluator.update_state({}, dict(batch))
            return {name: float(value) for name, value in evaluator.result().items()}

    return evaluate


def build_ours(
    annotations: str, more: bool = False, detections: int = DETECTIONS
) -> Callable[[], Numbers]:
    """Draw the outputs; with `more`, boundary AP and agnostic recall are computed from them too."""
    # Not upstream's: what is imported counts as memory.
    from deepmac_ablate.evaluation import predictor
    from deepmac_ablate.evaluation.metrics import agnostic_recall, average_precision
    from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
    from deepmac_ablate.evaluation.metrics.overlaps import Overlaps

    outputs = draw_outputs(json.loads(Path(annotations).read_text()), detections)

    def evaluate() -> Numbers:
        ground_truth = GroundTruth.load(annotations)
        overlaps = Overlaps(ground_truth, [
            result for image in outputs for result in predictor.coco_results(*image)])
        numbers: Numbers = {}
        for task in ("mask", "box", "boundary")[: 2 + more]:
            table = average_precision.per_class_ap(overlaps, task)
            numbers |= average_precision.class_means(table, table.index)
        if more:
            table = agnostic_recall.per_class_agnostic_recall(overlaps)
            numbers["mask_ar100_agnostic"] = average_precision.instance_mean(
                table, table.index, "mask_ar100_agnostic")
        return numbers

    return evaluate


def check_numbers(upstream: Numbers, ours: Numbers) -> None:
    """Compare the numbers of both.

    Raises:
        SystemExit: If numbers differ.
    """
    for theirs, name in SAME.items():
        if not abs(upstream[theirs] - ours[name]) <= 1e-6:
            sys.exit(f"{name} differs: upstream {upstream[theirs]}, ours {ours[name]}")


def annotations_path() -> str:
    """Return the annotations of coco_tiny; skip if they are absent."""
    return str(coco_tiny.root() / "annotations/instances.json")


def compare_evaluators(more: bool, runs: int) -> Row:
    """Compare evaluations; with `more`, ours has boundary AP and agnostic recall as well."""
    path = annotations_path()
    return compare(
        f"evaluation of 156 pictures x {DETECTIONS} detections" + more * ", ours with more metrics",
        Worker(functools.partial(build_upstream, path)),
        Worker(functools.partial(build_ours, path, more)), runs, unit="evaluation",
        check=check_numbers, reach=3.0 if more else 8.0)
