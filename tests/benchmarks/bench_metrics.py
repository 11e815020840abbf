"""Time AP by class against pycocotools on the same detections; run it as a script.

It prints, for masks, boundaries, boxes, and masks whatever their class (AR100 alone), the median
seconds of both and their ratio. pycocotools knows no boundaries: there it is given those that
OpenCV erodes one by one. Both are given the read annotations of coco_tiny (156 images, 80 classes)
and about 100 noisy detections per image, and must deliver the seven numbers over all classes:
pycocotools from one evaluation (the copies it needs, because it writes into its inputs, are not
timed), ours from one per-class table and its means (all checks and copies are timed, and making the
ground truth, which a real evaluation does once for all metrics). The numbers must agree to 1e-6, or
the script fails.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A script's own folder is on the path, the repository is not.
sys.path.insert(0, str(Path(__file__).parents[2]))

from deepmac_ablate import class_splits
from deepmac_ablate.evaluation.metrics import agnostic_recall, average_precision
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from tests.helpers import coco_tiny, noisy_detections

REPEATS = 3
CLASSES = sorted(class_splits.COCO)

Numbers = dict[str, float]


def median_seconds(
    evaluate: Callable[..., Numbers], prepare: Callable[[], tuple[Any, ...]]
) -> tuple[float, Numbers]:
    """Return the median time of some evaluations, and what the last returned."""
    times = []
    for _ in range(REPEATS):
        inputs = prepare()
        start = time.perf_counter()
        numbers = evaluate(*inputs)
        times.append(time.perf_counter() - start)
    return statistics.median(times), numbers


def ours(annotations: dict[str, Any], *inputs: Any) -> Numbers:
    """Return the seven numbers from a per-class table."""
    table = average_precision.per_class_ap(GroundTruth.from_coco(annotations), *inputs)
    return average_precision.class_means(table, CLASSES)


def ours_agnostic(annotations: dict[str, Any], *inputs: Any) -> Numbers:
    """Return AR whatever the class from a per-class table."""
    table = agnostic_recall.per_class_agnostic_recall(GroundTruth.from_coco(annotations), *inputs)
    return {"mask_ar100": average_precision.instance_mean(table, CLASSES, "mask_ar100_agnostic")}


def main() -> None:
    """Print one line per metric."""
    try:
        annotations = coco_tiny.instances()
    except pytest.skip.Exception as absent:
        sys.exit(str(absent))
    image_ids = [image["id"] for image in annotations["images"]]
    detections = [
        detection
        for seed in range(9)
        for detection in noisy_detections.noisy_detections(annotations, seed)
    ]
    print(f"{len(image_ids)} images, {len(detections)} detections, median of {REPEATS} runs")
    for name, task, use_classes in (
        ("mask", "mask", True),
        ("boundary", "boundary", True),
        ("box", "box", True),
        ("agnostic", "mask", False),
    ):
        theirs_seconds, expected = median_seconds(
            noisy_detections.pycocotools_numbers,
            lambda task=task, use_classes=use_classes: (
                copy.deepcopy(annotations),
                noisy_detections.results_of_one_kind(detections, task),
                image_ids,
                CLASSES,
                task,
                use_classes,
            ),
        )
        inputs = annotations, detections
        our_seconds, actual = median_seconds(
            ours if use_classes else ours_agnostic,
            lambda inputs=(*inputs, task) if use_classes else inputs: inputs,
        )
        if any(abs(expected[metric] - value) > 1e-6 for metric, value in actual.items()):
            sys.exit(f"The numbers differ: {expected} and {actual}")
        print(
            f"{name:8}  pycocotools {theirs_seconds:.2f} s  ours {our_seconds:.2f} s  "
            f"ratio {our_seconds / theirs_seconds:.2f}"
        )


if __name__ == "__main__":
    main()
