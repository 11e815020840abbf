"""What a trial keeps of its evaluation: numbers, and what they can be had from another way.

::

    per_class.csv                one row per class and reading
    instances.csv.gz             one row per annotated mask and reading in given boxes: its IoU
    masks.json.gz                the masks predicted in annotated boxes, as COCO results
    matches/detections_mask.npz  which detections were right, see `metrics.matches`
            detections_box.npz
            groundtruth_mask.npz

From per-class numbers the AP of any class split follows, from matches that of any resample of the
images, and from masks the pictures in which arms are compared.
"""

from __future__ import annotations

import gzip

from deepmac_ablate.data.dataset_info import annotations_path
from deepmac_ablate.evaluation.evaluator import Evaluation, Numbers
from deepmac_ablate.evaluation.metrics.average_precision import Task
from deepmac_ablate.evaluation.metrics.ground_truth import has_mask, load_annotations
from deepmac_ablate.evaluation.metrics.matches import match
from deepmac_ablate.storage.strict_json import to_json

_MATCHES: tuple[tuple[str, Task], ...] = (
    ("detections", "mask"), ("detections", "box"), ("groundtruth", "mask"))


def files(evaluation: Evaluation, numbers: Numbers) -> dict[str, bytes]:
    """Returns the files by name, relative to the trial's folder.

    Args:
        evaluation: what made the numbers.
        numbers: of all its readings; those of annotated boxes and of detections are kept.
    """
    truth = load_annotations(annotations_path(evaluation.data.prefix))
    image_ids = [image["id"] for image in truth["images"]]
    with_mask = {a["id"] for a in truth["annotations"] if has_mask(a)}
    kept = {"per_class.csv": numbers.per_class.to_csv(index=False).encode()}
    if len(numbers.instances):
        kept["instances.csv.gz"] = _zipped(numbers.instances.to_csv(index=False))
    if "groundtruth" in numbers.predictions:
        kept["masks.json.gz"] = _zipped(to_json(numbers.predictions["groundtruth"]))
    for reading, task in _MATCHES:
        if reading in numbers.predictions:
            # In annotated boxes also objects are segmented whose own mask nobody knows.
            judged = [result for result in numbers.predictions[reading]
                      if reading == "detections" or result["annotation_id"] in with_mask]
            matches = match(truth, judged, image_ids, task)
            kept[f"matches/{reading}_{task}.npz"] = matches.to_bytes()
    return kept


def _zipped(text: str) -> bytes:
    # Without the time, so that the same content is the same file.
    return gzip.compress(text.encode(), mtime=0)
