"""The files that a trial keeps of its evaluation: numbers, and what other numbers follow from.

::

    per_class.csv                one row per class and box source
    instances.csv.gz             one row per annotated mask and source of given boxes: its IoU
    masks.json.gz                the masks predicted in ground-truth boxes, as COCO results
    matches/detections_mask.npz  which detections were right, see `metrics.matches`
            detections_box.npz
            groundtruth_mask.npz

From per-class numbers the AP of any class split follows, from matches that of any resample of the
images, and from masks the pictures in which arms are compared.
"""

from __future__ import annotations

import gzip
from typing import Literal

from deepmac_ablate.evaluation.evaluator import EvaluationResult
from deepmac_ablate.evaluation.metrics.mask_iou import with_annotated_mask
from deepmac_ablate.evaluation.metrics.matches import match_detections
from deepmac_ablate.storage.strict_json import to_json

_MATCHES: tuple[tuple[str, Literal["mask", "box"]], ...] = (
    ("detections", "mask"), ("detections", "box"), ("groundtruth", "mask"))


def artifact_files(result: EvaluationResult) -> dict[str, bytes]:
    """Return the files by name, relative to the trial's folder.

    Args:
        result: with any box sources; masks and matches are kept of detections and ground-truth
            boxes.
    """
    kept = {"per_class.csv": result.per_class.to_csv(index=False).encode()}
    if len(result.instances):
        kept["instances.csv.gz"] = _zipped(result.instances.to_csv(index=False))
    if "groundtruth" in result.predictions:
        kept["masks.json.gz"] = _zipped(to_json(result.predictions["groundtruth"]))
    for source, task in _MATCHES:
        if source in result.predictions:
            found = result.predictions[source]
            if source == "groundtruth":
                found = with_annotated_mask(result.ground_truth, found)
            matches = match_detections(result.ground_truth, found, task)
            kept[f"matches/{source}_{task}.npz"] = matches.to_bytes()
    return kept


def _zipped(text: str) -> bytes:
    # Without the time, so that the same content is the same file.
    return gzip.compress(text.encode(), mtime=0)
