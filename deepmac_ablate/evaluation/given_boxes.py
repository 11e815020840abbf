"""Given boxes: ground-truth boxes, with or without noise, that bypass the detector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from deepmac_ablate import box_jitter
from deepmac_ablate.evaluation.metrics.ground_truth import GroundTruth
from deepmac_ablate.modeling import box_noise


class GivenBox(NamedTuple):
    """One box to predict a mask in.

    Attributes:
        source: The box source, such as "groundtruth" or "jittered0.1".
        annotation_id: The annotation that the box derives from.
        class_id: The class of that annotation.
        box: [x, y, w, h] in pixels of the original image.
    """

    source: str
    annotation_id: int
    class_id: int
    box: Sequence[float]


def given_boxes(
    ground_truth: GroundTruth, sources: Sequence[str], noise_seed: int
) -> dict[int, list[GivenBox]]:
    """Return the boxes of all non-crowd annotations from each source, by image id.

    Args:
        ground_truth: The annotations.
        sources: The box sources: "groundtruth" and names of jitter, see `box_jitter.parse`.
        noise_seed: The seed of the noise. Together with an annotation's id it determines the noise,
            which is thus the same for every model.
    """
    objects = ground_truth.objects
    annotated = np.array([a.box for a in objects], np.float64).reshape(-1, 4)
    by_image: dict[int, list[GivenBox]] = defaultdict(list)
    for source in sources:
        noise = box_jitter.parse_jitter(source)
        boxes = annotated if noise is None else _jitter_boxes(
            annotated, ground_truth, noise, noise_seed)
        for annotation, box in zip(objects, boxes.tolist(), strict=True):
            by_image[annotation.image_id].append(
                GivenBox(source, annotation.id, annotation.category_id, box))
    return dict(by_image)


def _jitter_boxes(
    boxes: np.ndarray, ground_truth: GroundTruth, noise: box_jitter.Jitter, noise_seed: int
) -> np.ndarray:
    """Return the objects' boxes after noise, [n, 4] as x, y, w, h."""
    image_sizes = np.array(
        [ground_truth.image_sizes[a.image_id] for a in ground_truth.objects],
        np.float64).reshape(-1, 2)
    draws = np.array(
        [box_noise.annotation_draws(noise_seed, a.id) for a in ground_truth.objects]
    ).reshape(-1, 4)
    low, size = boxes[:, 1::-1], boxes[:, :1:-1]
    moved = box_noise.jitter_boxes(
        tf.constant(np.concatenate([low, low + size], axis=1)), tf.constant(draws), noise,
        image_sizes).numpy()
    return np.concatenate([moved[:, 1::-1], (moved[:, 2:] - moved[:, :2])[:, ::-1]], axis=1)
