"""Time the evaluation of Model Garden and ours, from the same raw outputs of a model.

    python -m tests.benchmarks.bench_evaluator [--repeats 3]

Both get 100 detections for each of the 156 images of coco_tiny, as a model puts them out: boxes in
the resized image, classes, scores, masks of 28 x 28 probabilities. 60 of them are of annotated
objects, with errors that grow from one to the next; the rest are of nothing. Upstream is Model
Garden's `COCOEvaluator` with the settings of its DeepMAC task. It has neither boundary AP nor
class-agnostic recall: the second row compares its time without them to ours with them.

Runs alternate, so that a machine whose speed drifts drifts for both; ratios are of wall-clock
seconds, run by run. Where both define a number it must agree to 1e-6, or the script fails: all but
box AP by size, as upstream takes the area of a false detection's mask for that of its box.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
import psutil
import pytest
import tensorflow as tf
from official.vision.evaluation import coco_evaluator

from deepmac_ablate.evaluation import predictor
from deepmac_ablate.evaluation.metrics import agnostic_recall, average_precision
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps
from tests.helpers import coco_tiny, noisy_detections

DETECTIONS, OF_OBJECTS, CELLS, SIDE, BATCH = 100, 60, 28, 1024, 4
# Our metrics by upstream's.
SAME = {
    **{f"{prefix}{theirs}": f"{task}_{ours}" for prefix, task in (("", "box"), ("mask_", "mask"))
       for theirs, ours in (
           ("AP", "ap"), ("AP50", "ap50"), ("AP75", "ap75"), ("ARmax100", "ar100"))},
    "mask_APs": "mask_ap_s", "mask_APm": "mask_ap_m", "mask_APl": "mask_ap_l",
}

Numbers = dict[str, float]


class Row(NamedTuple):
    """One comparison: medians over the runs, and peak memory beyond what the process had before."""

    name: str
    ratio: float
    upstream_seconds: float
    seconds: float
    upstream_cpu_seconds: float
    cpu_seconds: float
    upstream_megabytes: float
    megabytes: float


class Outputs(NamedTuple):
    """Raw outputs of a model for one image; the arguments of `predictor.coco_results`."""

    image_id: int
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    masks: np.ndarray
    image_info: np.ndarray


class _Run(NamedTuple):
    seconds: float
    cpu_seconds: float
    megabytes: float
    numbers: Numbers


def draw_outputs(document: dict[str, Any]) -> list[Outputs]:
    """Draw the raw outputs for every image of a COCO document."""
    coco = noisy_detections.quiet_coco(document)
    rng = np.random.default_rng(0)
    outputs = []
    for image in document["images"]:
        size = np.array([image["height"], image["width"]])
        objects = [a for a in coco.imgToAnns[image["id"]] if not a["iscrowd"]]
        boxes, masks = np.zeros((DETECTIONS, 4)), np.zeros((DETECTIONS, CELLS, CELLS), np.float32)
        classes = rng.choice(sorted(coco.cats), DETECTIONS)
        for i in range(DETECTIONS):
            if objects and i < OF_OBJECTS:
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
            np.sort(rng.random(DETECTIONS))[::-1].astype(np.float32), masks,
            np.array([size, [SIDE, SIDE], [scale, scale], [0, 0]], np.float32)))
    return outputs


def batched(outputs: list[Outputs]) -> list[dict[str, tf.Tensor]]:
    """Return the outputs as the batches of predictions that upstream's evaluator is given."""
    batches = []
    for at in range(0, len(outputs), BATCH):
        ids, boxes, classes, scores, masks, info = (
            tf.stack(values) for values in zip(*outputs[at : at + BATCH], strict=True))
        batches.append({
            "source_id": ids, "image_info": info, "detection_boxes": boxes,
            "detection_classes": classes, "detection_scores": scores, "detection_masks": masks,
            "num_detections": tf.fill(tf.shape(ids), DETECTIONS)})
    return batches


def evaluate_upstream(annotations: str, batches: list[dict[str, tf.Tensor]]) -> Numbers:
    """Return upstream's numbers."""
    # pycocotools prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = coco_evaluator.COCOEvaluator(
            annotations, include_mask=True, per_category_metrics=True)
        for batch in batches:
            evaluator.update_state({}, dict(batch))
        return {name: float(value) for name, value in evaluator.result().items()}


def evaluate_ours(annotations: str, outputs: list[Outputs], more: bool) -> Numbers:
    """Return our numbers, with boundary AP and agnostic recall if there are to be more."""
    ground_truth = GroundTruth.load(annotations)
    overlaps = Overlaps(
        ground_truth, [result for image in outputs for result in predictor.coco_results(*image)])
    numbers: Numbers = {}
    for task in ("mask", "box", "boundary")[: 2 + more]:
        table = average_precision.per_class_ap(overlaps, task)
        numbers |= average_precision.class_means(table, table.index)
    if more:
        table = agnostic_recall.per_class_agnostic_recall(overlaps)
        numbers["mask_ar100_agnostic"] = average_precision.instance_mean(
            table, table.index, "mask_ar100_agnostic")
    return numbers


def run_once(evaluate: Callable[[], Numbers]) -> _Run:
    """Run one evaluation, and measure its time and the peak of its memory (on Linux)."""
    gc.collect()
    with contextlib.suppress(OSError):
        # Resets the peak that VmHWM tells.
        Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    cpu, start = time.process_time(), time.perf_counter()
    numbers = evaluate()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    status = Path("/proc/self/status").read_text().split()
    peak = int(status[status.index("VmHWM:") + 1]) * 1024
    return _Run(seconds, cpu, max(peak - before, 0) / 1e6, numbers)


def measure(repeats: int = 3) -> list[Row]:
    """Return the rows of the comparison.

    Args:
        repeats: The number of runs of each evaluation.

    Raises:
        SystemExit: If coco_tiny is absent, or numbers differ.
    """
    try:
        document = coco_tiny.instances()
        annotations = str(coco_tiny.root() / "annotations/instances.json")
    except pytest.skip.Exception as absent:
        sys.exit(str(absent))
    outputs = draw_outputs(document)
    batches = batched(outputs)
    names = ("mask and box AP", "the same, with boundary AP and agnostic recall on our side")
    upstream: list[_Run] = []
    ours: list[list[_Run]] = [[], []]
    for _ in range(repeats):
        upstream.append(run_once(lambda: evaluate_upstream(annotations, batches)))
        for more, runs in enumerate(ours):
            runs.append(run_once(lambda more=more: evaluate_ours(annotations, outputs, bool(more))))
            for theirs, name in SAME.items():
                pair = upstream[-1].numbers[theirs], runs[-1].numbers[name]
                if abs(pair[0] - pair[1]) > 1e-6:
                    sys.exit(f"{name} differs: upstream {pair[0]}, ours {pair[1]}")
    rows = []
    for name, runs in zip(names, ours, strict=True):
        ratio = statistics.median(
            theirs.seconds / run.seconds for theirs, run in zip(upstream, runs, strict=True))
        medians = [
            statistics.median(getattr(run, field) for run in some)
            for field in _Run._fields[:3] for some in (upstream, runs)]
        rows.append(Row(name, ratio, *medians))
    return rows


def main() -> None:
    """Print one line per row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    for row in measure(parser.parse_args().repeats):
        print(
            f"{row.name}: upstream / ours {row.ratio:.1f}\n"
            f"  seconds {row.upstream_seconds:.1f} / {row.seconds:.1f}"
            f"  CPU seconds {row.upstream_cpu_seconds:.1f} / {row.cpu_seconds:.1f}"
            f"  MB {row.upstream_megabytes:.0f} / {row.megabytes:.0f}")


if __name__ == "__main__":
    main()
