"""Which detection found which instance, stored so that AP can be had again for other images.

AP is no mean over images: it ranks the detections of all of them. To ask what it would have been on
another sample of images, one needs every detection's score and whether it matched, not the masks.
COCO's matching looks at one image and class at a time, so it holds for every sample::

    matches = match("instances_val2017.json", detections, scored_ids, "mask")
    RankedMatches(matches).average_precision(weights)

The matching is pycocotools' own, so that AP with every image once is `per_class_ap`'s.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import zipfile
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

import numpy as np

from deepmac_ablate.errors import UserError
from deepmac_ablate.metrics.average_precision import MAX_DETECTIONS, evaluated_part
from deepmac_ablate.metrics.ground_truth import GroundTruth

# COCO's IoU thresholds .50, .55, ... .95, and the areas of all objects, in pixels.
THRESHOLDS = 10
_ALL_AREAS = [0, 1e10]
_IOU_TYPES = {"mask": "segm", "box": "bbox"}
_BITS = ("matched", "ignored")


@dataclasses.dataclass(frozen=True)
class Matches:
    """The detections of one reading, with what COCO's evaluation matched them with.

    Detections are in the order of class, image, falling score. I images, C classes, D detections,
    T IoU thresholds, G instances.

    Attributes:
        image_ids: [I] int64, the scored images, ascending.
        class_ids: [C] int64, all classes of the data set, ascending.
        image: [D] int32, the image of each detection that counts, as an index.
        category: [D] int32, its class, as an index.
        scores: [D] float32 where that is exact, else float64.
        matched: [D, T] bool, whether it found something at each IoU threshold.
        ignored: [D, T] bool, whether it does not count there, as it lies on a crowd.
        instances: [G, 2] int32, image and class, as indices, of each instance to find.
    """

    image_ids: np.ndarray
    class_ids: np.ndarray
    image: np.ndarray
    category: np.ndarray
    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    instances: np.ndarray

    def to_bytes(self) -> bytes:
        """Returns a compressed npz file: the fields by name, bool as single bits."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {name: np.packbits(fields[name]) for name in _BITS}
        file = io.BytesIO()
        np.savez_compressed(file, **fields)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Matches:
        """Reads what `to_bytes` wrote.

        Raises:
            UserError: If it is something else; it names `where` it was read.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                fields = {field.name: file[field.name] for field in dataclasses.fields(cls)}
            shape = (len(fields["image"]), THRESHOLDS)
            for name in _BITS:
                bits = np.unpackbits(fields[name], count=shape[0] * shape[1])
                fields[name] = bits.astype(bool).reshape(shape)
        except (ValueError, KeyError, EOFError, OSError, TypeError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{where} is broken, as it holds no matches ({error}); delete it and evaluate the "
                "trial again.") from error
        return cls(**fields)


def match(
    ground_truth: GroundTruth,
    detections: Iterable[Mapping[str, Any]],
    image_ids: Collection[int],
    task: Literal["mask", "box"],
) -> Matches:
    """Returns the matches of detections, by the conventions of `per_class_ap`.

    Args:
        ground_truth: As for `per_class_ap`.
        detections: As for `per_class_ap`.
        image_ids: As for `per_class_ap`.
        task: "mask" or "box".

    Raises:
        UserError: As `per_class_ap`.
    """
    truth, found = evaluated_part(ground_truth, detections, image_ids, task)
    evaluated = _evaluate(truth, found, task)
    images = np.unique([image["id"] for image in truth["images"]])
    classes = np.unique([category["id"] for category in truth["categories"]])
    counts = [len(pair["dtIds"]) for pair in evaluated]
    to_find = [
        (a["image_id"], a["category_id"]) for a in truth["annotations"] if not a["iscrowd"]]
    to_find = np.array(to_find, np.int64).reshape(-1, 2)
    return Matches(
        image_ids=images.astype(np.int64),
        class_ids=classes.astype(np.int64),
        image=_indices(np.repeat([p["image_id"] for p in evaluated], counts), images),
        category=_indices(np.repeat([p["category_id"] for p in evaluated], counts), classes),
        scores=_smallest(np.concatenate([[], *(p["dtScores"] for p in evaluated)])),
        matched=_by_detection([p["dtMatches"] > 0 for p in evaluated]),
        ignored=_by_detection([p["dtIgnore"] for p in evaluated]),
        instances=np.stack(
            [_indices(to_find[:, 0], images), _indices(to_find[:, 1], classes)], axis=1),
    )


def _evaluate(
    truth: dict[str, Any], found: dict[str, Any], task: Literal["mask", "box"]
) -> list[dict[str, Any]]:
    """Returns pycocotools' result of every image and class that has anything, class by class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # It reports its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        pair = []
        for data in (truth, found):
            coco = COCO()
            coco.dataset = data
            coco.createIndex()
            pair.append(coco)
        evaluation = COCOeval(*pair, _IOU_TYPES[task])
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.areaRng = [_ALL_AREAS]
        evaluation.evaluate()
    return [result for result in evaluation.evalImgs if result is not None]


def _indices(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.searchsorted(known, values).astype(np.int32)


def _by_detection(parts: list[np.ndarray]) -> np.ndarray:
    """Returns [T, detections] arrays as one of [D, T]."""
    return np.concatenate([np.zeros((THRESHOLDS, 0)), *parts], axis=1).T.astype(bool)


def _smallest(scores: np.ndarray) -> np.ndarray:
    """Returns scores in half the bytes, where they were of that precision."""
    halved = scores.astype(np.float32)
    return halved if np.array_equal(halved, scores) else scores
