"""The files that a trial keeps of its evaluation, from which other numbers can be derived.

::

    per_class.csv                one row per class and box source
    instances.csv.gz             one row per annotated mask and source of given boxes, with its IoU
    masks.json.gz                the masks predicted in ground-truth boxes, as COCO results
    matches/detections_mask.npz  the detections that matched an object, see `metrics.matches`
            detections_box.npz
            groundtruth_mask.npz

Per-class numbers give the AP of any class split, matches the AP of any resample of the images, and
masks the pictures in which arms are compared.
"""

from __future__ import annotations

import gzip
from typing import Literal

import pandas as pd

from deepmac_ablate.evaluation.evaluator import EvaluationResult
from deepmac_ablate.evaluation.metrics.matches import match_detections
from deepmac_ablate.safe_text import protect_cell, visible
from deepmac_ablate.storage.strict_json import to_json

_MATCHES: tuple[tuple[str, Literal["mask", "box"]], ...] = (
    ("detections", "mask"), ("detections", "box"), ("groundtruth", "mask"))


def artifact_files(result: EvaluationResult) -> dict[str, bytes]:
    """Return the content of each file by its path relative to the trial's folder.

    Args:
        result: The evaluation, with any box sources. Masks and matches of jittered boxes are not
            kept.
    """
    kept = table_files(result)
    if "groundtruth" in result.predictions:
        kept["masks.json.gz"] = _compress(to_json(result.predictions["groundtruth"]))
    for source, task in _MATCHES:
        if source in result.overlaps:
            matches = match_detections(result.overlaps[source], task)
            kept[f"matches/{source}_{task}.npz"] = matches.to_bytes()
    return kept


def table_files(result: EvaluationResult) -> dict[str, bytes]:
    """Return the content of per_class.csv and, for masks in given boxes, of instances.csv.gz."""
    files = {"per_class.csv": per_class_file(result.per_class)}
    if len(result.instances):
        files["instances.csv.gz"] = _compress(result.instances.to_csv(index=False))
    return files


def per_class_file(per_class: pd.DataFrame) -> bytes:
    """Return the content of per_class.csv, whose names neither terminals nor spreadsheets run."""
    names = per_class["name"].map(lambda name: protect_cell(visible(name)))
    return per_class.assign(name=names).to_csv(index=False).encode()


def _compress(text: str) -> bytes:
    # Without a time stamp, so that equal content gives equal files.
    return gzip.compress(text.encode(), mtime=0)
