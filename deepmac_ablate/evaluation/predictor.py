"""Predictions of a trained model on images, as COCO results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from deepmac_ablate.evaluation.given_boxes import GivenBox
from deepmac_ablate.evaluation.mask_pasting import paste_masks
from deepmac_ablate.evaluation.model_classes import UNKNOWN, ModelClasses
from deepmac_ablate.modeling.autograph import is_own
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN

# The number of boxes that a device segments at once limits the memory for their feature crops.
_BOXES_PER_PASS = 128


class ImagePrediction(NamedTuple):
    """Predictions on one image.

    Attributes:
        image_id: The id of the image.
        detections: COCO results with `bbox` [x, y, w, h] in pixels of the original image, and RLE.
        in_boxes: Box source -> annotation id -> RLE of the mask predicted in the box that the
            source gives for that annotation.
        stability: The same keys -> the share of the cells with a logit of at least -1 whose logit
            is at least 1, in [0, 1]: 1 for a mask that is sure of its outline (the stability score
            of Segment Anything, arXiv:2304.02643), 0 for an empty one.
    """

    image_id: int
    detections: list[dict[str, Any]]
    in_boxes: dict[str, dict[int, dict[str, Any]]]
    stability: dict[str, dict[int, float]]


class Predictor:
    """Runs a model on batches of images, on the devices of a strategy.

    The mask head runs on actual boxes only, without padding to the maximum number.

    Attributes:
        model: The model.
    """

    def __init__(
        self, model: MaskRCNN, strategy: tf.distribute.Strategy, batch_size: int,
        classes: ModelClasses = UNKNOWN,
    ) -> None:
        """Prepare to predict.

        Args:
            model: The model.
            strategy: The strategy in whose scope the model was built.
            batch_size: The largest number of images in a batch. Smaller batches are padded, as
                each size would need a traced program of its own.
            classes: The classes of the model. Predictions have their ids; detections of what is
                none of them are left out.
        """
        self.model = model
        self._classes = classes
        self._strategy = strategy
        self._replicas = max(len(strategy.extended.worker_devices), 1)
        self._batch_size = -(-batch_size // self._replicas) * self._replicas
        convert = is_own(model)
        self._features = tf.function(model.features, autograph=convert)
        self._detect = tf.function(model.detect, autograph=convert)
        self._masks = tf.function(model.predict_masks, autograph=convert)

    def predict(
        self,
        batch: Mapping[str, tf.Tensor],
        given_boxes: Mapping[int, Sequence[GivenBox]],
        detect: bool,
    ) -> Iterator[ImagePrediction]:
        """Predict on the images of a batch.

        Args:
            batch: A batch of `EvaluationData`.
            given_boxes: Image id -> boxes to predict masks in.
            detect: Whether to detect objects as well.

        Yields:
            The predictions on each image, in the order of the batch.
        """
        info, ids = batch["image_info"].numpy(), batch["image_ids"].numpy().tolist()
        scales = [np.tile(rows[2], 2) for rows in info]
        features = self._run(self._features, self._split(batch["images"].numpy()))
        found = [_NO_BOXES] * len(ids)
        if detect:
            found = self._detect_boxes(features, info)
        given = [given_boxes.get(image_id, ()) for image_id in ids]
        in_given = [
            _Boxes(_to_yxyx(np.array([g.box for g in boxes]).reshape(-1, 4)) * scale,
                   np.array([self._classes.label(g.class_id) for g in boxes], np.int32), None)
            for boxes, scale in zip(given, scales, strict=True)]
        masks_found = self._segment(features, found)
        masks_given = self._segment(features, in_given)
        for i, image_id in enumerate(ids):
            detections = self._with_ids(
                coco_results(image_id, *found[i], masks_found[i], info[i]))
            boxes = np.array([g.box for g in given[i]], np.float64).reshape(-1, 4)
            encoded = paste_masks(masks_given[i], boxes, *info[i, 0].astype(int).tolist())
            in_boxes: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
            stability: dict[str, dict[int, float]] = defaultdict(dict)
            for given_box, mask, sure in zip(
                    given[i], encoded, _stability(masks_given[i]), strict=True):
                in_boxes[given_box.source][given_box.annotation_id] = mask
                stability[given_box.source][given_box.annotation_id] = sure
            yield ImagePrediction(image_id, detections, in_boxes, stability)

    def _with_ids(self, detections: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return detections with ids of classes instead of numbers in the model."""
        ids = [self._classes.id_of(detection["category_id"]) for detection in detections]
        return [
            {**detection, "category_id": class_id}
            for detection, class_id in zip(detections, ids, strict=True) if class_id is not None]

    def _detect_boxes(self, features: Any, info: np.ndarray) -> list[_Boxes]:  # noqa: ANN401
        found = self._gather(
            self._run(self._detect, features, self._split(info[:, 1].astype(np.float32))))
        return [
            _Boxes(boxes[:number], classes[:number], scores[:number])
            for boxes, classes, scores, number in zip(
                found["boxes"][: len(info)], found["classes"], found["scores"],
                found["num_detections"], strict=False)]

    def _segment(self, features: Any, boxes: Sequence[_Boxes]) -> list[np.ndarray]:  # noqa: ANN401
        """Return the masks in the boxes of each image, [n, mask_size, mask_size] for each."""
        per_replica = self._batch_size // self._replicas
        flat = [_flatten(boxes[at : at + per_replica])
                for at in range(0, self._batch_size, per_replica)]
        longest = max(len(part[0]) for part in flat)
        masks: list[list[np.ndarray]] = [[] for _ in flat]
        for at in range(0, longest, _BOXES_PER_PASS):
            # Powers of two, so that only a few programs are traced.
            length = min(_BOXES_PER_PASS, 1 << max(longest - at - 1, 15).bit_length())
            args = [[_pad(array[at : at + length], length) for array in part] for part in flat]
            result = self._run(
                self._masks, features, *(self._place(list(arg)) for arg in zip(*args, strict=True)))
            for own, value in zip(
                    masks, self._strategy.experimental_local_results(result), strict=True):
                own.append(value.numpy())
        segmented = []
        for part, own in zip(flat, masks, strict=True):
            joined = np.concatenate(own) if own else np.zeros((0, 1, 1), np.float32)
            for image in range(per_replica):
                segmented.append(joined[: len(part[0])][part[1] == image])
        return segmented[: len(boxes)]

    def _run(self, function: Any, *args: Any) -> Any:  # noqa: ANN401
        return self._strategy.run(function, args=args)

    def _split(self, array: np.ndarray) -> Any:  # noqa: ANN401
        """Give each device its part of the images, repeating the last one to fill the batch.

        Each worker of a cluster runs all images on its own devices: nothing is exchanged, and the
        numbers do not depend on the number of workers.
        """
        missing = self._batch_size - len(array)
        padded = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
        return self._place(np.split(padded, self._replicas))

    def _place(self, parts: Sequence[np.ndarray]) -> Any:  # noqa: ANN401
        """Put one array on each device."""
        if len(parts) == 1:
            return tf.constant(parts[0])
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group % len(parts)]))

    def _gather(self, result: Any) -> Any:  # noqa: ANN401
        """Join the results of the devices in the order of the images."""
        return tf.nest.map_structure(
            lambda value: np.concatenate(
                [part.numpy() for part in self._strategy.experimental_local_results(value)]),
            result)


def coco_results(
    image_id: int,
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    masks: np.ndarray,
    image_info: np.ndarray,
) -> list[dict[str, Any]]:
    """Return the detections of an image as COCO results, from what a model puts out.

    Args:
        image_id: The id of the image.
        boxes: [n, 4] float32, ymin, xmin, ymax, xmax in pixels of the resized image.
        classes: [n] numbers of classes in the model, which become the category ids.
        scores: [n] float32.
        masks: [n, h, w] float32, probabilities in each box.
        image_info: [4, 2], its rows 0 and 2 the size of the original image and the scale of the
            resized one, as in Model Garden.
    """
    height, width = image_info[0].astype(int).tolist()
    boxes = _to_xywh(boxes / np.tile(image_info[2], 2))
    return [
        {"image_id": image_id, "category_id": class_id, "bbox": box, "score": score,
         "segmentation": mask}
        for box, class_id, score, mask in zip(
            boxes.tolist(), classes.tolist(), scores.tolist(),
            paste_masks(masks, boxes, height, width), strict=True)]


class _Boxes(NamedTuple):
    """The boxes of one image: [n, 4] in pixels of the resized image; classes [n], scores [n]."""

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray | None


_NO_BOXES = _Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))


def _flatten(images: Sequence[_Boxes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the boxes of all images as one list: boxes, indices of their images, classes."""
    images = images or [_NO_BOXES]
    return (
        np.concatenate([image.boxes for image in images]).astype(np.float32),
        np.repeat(np.arange(len(images)), [len(image.boxes) for image in images]).astype(np.int32),
        np.concatenate([image.classes for image in images]).astype(np.int32),
    )


def _stability(masks: np.ndarray) -> list[float]:
    """Return the stability of masks of probabilities, [n, h, w]; see `ImagePrediction`."""
    unsure, sure = (
        (masks >= 1.0 / (1.0 + np.exp(-logit))).sum(axis=(1, 2)) for logit in (-1.0, 1.0))
    return (sure / np.maximum(unsure, 1)).tolist()


def _pad(array: np.ndarray, length: int) -> np.ndarray:
    return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))


def _to_yxyx(boxes: np.ndarray) -> np.ndarray:
    """Convert boxes [n, 4] from x, y, width, height to ymin, xmin, ymax, xmax."""
    low, size = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([low[:, ::-1], (low + size)[:, ::-1]], axis=1)


def _to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Convert boxes [n, 4] from ymin, xmin, ymax, xmax to x, y, width, height."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([low[:, ::-1], (high - low)[:, ::-1]], axis=1).astype(np.float64)
