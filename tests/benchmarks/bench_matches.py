"""Time stored matches at the size of COCO's validation set; run it as a script.

It draws 5,000 images with 7 boxes each of 80 classes, and 60 detections per image: two thirds of
the boxes found with some error, the rest false. It prints the seconds that the matching takes
(beside those of AP by class, which every evaluation takes), the preparation, and a resample of the
images, median of 20; and the size of the file.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# A script's own folder is on the path, the repository is not.
sys.path.insert(0, str(Path(__file__).parents[2]))

from deepmac_ablate.evaluation.metrics.average_precision import per_class_ap
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.evaluation.metrics.matches import RankedMatches, match_detections
from deepmac_ablate.evaluation.metrics.overlaps import Overlaps

IMAGES, BOXES, DETECTIONS, CLASSES, SIDE = 5000, 7, 60, 80, 640
RESAMPLES = 20


def draw_data() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw random annotations and detections."""
    rng = np.random.default_rng(0)
    annotations, detections = [], []
    for image_id in range(1, IMAGES + 1):
        boxes = np.concatenate(
            [rng.uniform(0, SIDE / 2, (DETECTIONS, 2)), rng.uniform(8, SIDE / 2, (DETECTIONS, 2))],
            axis=1)
        classes = rng.integers(1, CLASSES + 1, DETECTIONS)
        found = boxes * rng.normal(1, 0.08, boxes.shape)
        scores = rng.random(DETECTIONS).astype(np.float32) ** 2
        for n in range(DETECTIONS):
            place = {"image_id": image_id, "category_id": int(classes[n])}
            if n < BOXES:
                annotations.append(
                    place | {"id": len(annotations) + 1, "bbox": boxes[n].tolist(), "iscrowd": 0,
                             "area": float(boxes[n, 2] * boxes[n, 3])})
            if n >= BOXES // 3:
                score = float(scores[n]) + (n < BOXES)
                detections.append(place | {"bbox": found[n].tolist(), "score": score})
    return {
        "images": [{"id": i, "height": SIDE, "width": SIDE} for i in range(1, IMAGES + 1)],
        "categories": [{"id": i, "name": f"class {i}"} for i in range(1, CLASSES + 1)],
        "annotations": annotations}, detections


def time_call(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main() -> None:
    """Print one line per part."""
    truth, detections = draw_data()
    overlaps = Overlaps(GroundTruth.from_coco(truth), detections)
    seconds, _ = time_call(lambda: overlaps.box_ious)
    print(f"{IMAGES} images, {len(detections)} detections, {CLASSES} classes")
    print(f"overlaps      {seconds:8.2f} s")
    seconds, table = time_call(lambda: per_class_ap(overlaps, "box"))
    print(f"AP by class   {seconds:8.2f} s  (mean {table['box_ap'].mean():.3f})")
    seconds, matches = time_call(lambda: match_detections(overlaps, "box"))
    print(f"matching      {seconds:8.2f} s")
    seconds, content = time_call(matches.to_bytes)
    print(f"file          {seconds:8.2f} s  {len(content) / 1e6:.1f} MB")
    seconds, ranked = time_call(lambda: RankedMatches(matches))
    print(f"preparation   {seconds:8.2f} s")
    if abs(ranked.average_precision() - table["box_ap"]).max() > 1e-9:
        sys.exit("The AP from the matches is another one.")
    rng = np.random.default_rng(1)
    seconds = statistics.median(
        time_call(lambda: ranked.average_precision(
            rng.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES))))[0]
        for _ in range(RESAMPLES))
    print(f"a resample    {seconds:8.4f} s")


if __name__ == "__main__":
    main()
