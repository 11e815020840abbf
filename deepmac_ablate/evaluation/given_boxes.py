"""The boxes that are given to the mask head in evaluation: annotated ones, as they are or moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from deepmac_ablate import box_jitter
from deepmac_ablate.modeling import box_noise


class GivenBox(NamedTuple):
    """One box that a mask is wanted in.

    Attributes:
        source: where it comes from, the reading that it belongs to: "groundtruth", "jittered0.1".
        annotation_id: the annotation that it is made of.
        class_id: that annotation's class.
        box: [x, y, w, h] in pixels of the original image.
    """

    source: str
    annotation_id: int
    class_id: int
    box: Sequence[float]


def given_boxes(
    truth: Mapping[str, Any], sources: Sequence[str], noise_seed: int
) -> dict[int, list[GivenBox]]:
    """Returns the boxes of all non-crowd annotations from each source, by image id.

    Args:
        truth: annotations in COCO's format.
        sources: "groundtruth", and names of noise, see `jitter.parse`.
        noise_seed: what the noise is a function of, with an annotation's id. So it is the same
            whatever model is evaluated.
    """
    annotations = [a for a in truth["annotations"] if not a.get("iscrowd", 0)]
    annotated = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
    by_image: dict[int, list[GivenBox]] = defaultdict(list)
    for source in sources:
        noise = box_jitter.parse(source)
        boxes = annotated if noise is None else _moved(
            annotated, annotations, truth["images"], noise, noise_seed)
        for annotation, box in zip(annotations, boxes.tolist(), strict=True):
            by_image[annotation["image_id"]].append(
                GivenBox(source, annotation["id"], annotation["category_id"], box))
    return dict(by_image)


def _moved(
    boxes: np.ndarray,
    annotations: Sequence[Mapping[str, Any]],
    images: Sequence[Mapping[str, Any]],
    noise: box_jitter.Jitter,
    noise_seed: int,
) -> np.ndarray:
    """Returns the boxes [n, 4] of annotations after noise, as x, y, w, h."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    of_box = np.array([sizes[a["image_id"]] for a in annotations], np.float64).reshape(-1, 2)
    draws = np.array(
        [box_noise.draws_of_annotation(noise_seed, a["id"]) for a in annotations]).reshape(-1, 4)
    low, size = boxes[:, 1::-1], boxes[:, :1:-1]
    moved = box_noise.jittered(
        tf.constant(np.concatenate([low, low + size], axis=1)), tf.constant(draws), noise,
        of_box).numpy()
    return np.concatenate([moved[:, 1::-1], (moved[:, 2:] - moved[:, :2])[:, ::-1]], axis=1)
