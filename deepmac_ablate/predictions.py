"""A trained model's predictions on images, as COCO results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from official.vision.ops import mask_ops
from pycocotools import mask as rle

from deepmac_ablate.modeling.mask_rcnn import MaskRCNN


class ImagePrediction(NamedTuple):
    """What was predicted on one image.

    Attributes:
        image_id: of the image.
        detections: COCO results with `bbox` [x, y, w, h] in pixels of the original image, and RLE.
        in_boxes: annotation id -> RLE of the mask predicted in that annotation's box.
    """

    image_id: int
    detections: list[dict[str, Any]]
    in_boxes: dict[int, dict[str, Any]]


class Predictor:
    """Runs a model on batches of any size, on the devices of a strategy."""

    def __init__(self, model: MaskRCNN, strategy: tf.distribute.Strategy) -> None:
        self._model = model
        self._strategy = strategy
        self._features = tf.function(lambda images: model.features(images))
        self._detect = tf.function(lambda features, shape: model.detect(features, shape))
        self._masks = tf.function(
            lambda features, boxes, classes: model.predict_masks(features, boxes, classes))

    def predict(
        self,
        batch: Mapping[str, tf.Tensor],
        annotations: Mapping[int, Sequence[Mapping[str, Any]]],
        detect: bool,
    ) -> Iterator[ImagePrediction]:
        """Predicts on the images of a batch.

        Args:
            batch: of `EvaluationData`.
            annotations: image id -> annotations in whose boxes masks are wanted.
            detect: whether to detect objects, too.
        """
        info, ids = batch["image_info"].numpy(), batch["image_ids"].numpy()
        number = len(ids)
        features = self._run(self._features, [batch["images"].numpy()], gather=False)
        detected = None
        if detect:
            detected = self._run(self._detect, [features, info[:, 1]])
        wanted = [annotations.get(int(image_id), ()) for image_id in ids]
        masks = self._masks_in_boxes(features, wanted, info) if any(wanted) else None
        for i in range(number):
            height, width = info[i, 0].astype(int)
            detections, in_boxes = [], {}
            if detected is not None:
                k = int(detected["num_detections"][i])
                boxes = _to_xywh(detected["boxes"][i, :k] / np.tile(info[i, 2], 2))
                found = zip(
                    boxes, detected["classes"][i, :k], detected["scores"][i, :k],
                    _encode(detected["masks"][i, :k], boxes, height, width), strict=True)
                detections = [
                    {"image_id": int(ids[i]), "category_id": int(c), "bbox": box.tolist(),
                     "score": float(score), "segmentation": mask}
                    for box, c, score, mask in found]
            if masks is not None and wanted[i]:
                boxes = np.array([annotation["bbox"] for annotation in wanted[i]], np.float64)
                encoded = _encode(masks[i][: len(boxes)], boxes, height, width)
                in_boxes = {
                    annotation["id"]: mask
                    for annotation, mask in zip(wanted[i], encoded, strict=True)}
            yield ImagePrediction(int(ids[i]), detections, in_boxes)

    def _masks_in_boxes(
        self,
        features: Any,  # noqa: ANN401 (per-replica nest)
        wanted: Sequence[Sequence[Mapping[str, Any]]],
        info: np.ndarray,
    ) -> np.ndarray:
        """Segments annotated boxes: [b, k, mask_size, mask_size] for the k of the fullest image."""
        fullest = max(len(annotations) for annotations in wanted)
        # Few different sizes, so that few different programs are traced.
        slots = 1 << max(fullest - 1, 3).bit_length()
        boxes = np.zeros((len(wanted), slots, 4), np.float32)
        classes = np.zeros((len(wanted), slots), np.int32)
        for i, of_image in enumerate(wanted):
            for j, annotation in enumerate(of_image):
                x, y, w, h = annotation["bbox"]
                boxes[i, j] = np.array([y, x, y + h, x + w]) * np.tile(info[i, 2], 2)
                classes[i, j] = annotation["category_id"]
        passes = (slice(at, at + _SLOTS) for at in range(0, slots, _SLOTS))
        parts = [self._run(self._masks, [features, boxes[:, p], classes[:, p]]) for p in passes]
        return np.concatenate(parts, axis=1)

    def _run(self, function: Any, args: Sequence[Any], gather: bool = True) -> Any:  # noqa: ANN401
        """Runs a function on the devices, arrays split by image, the last images repeated to fit.

        Each worker of a cluster runs its own devices on all images: nothing is exchanged, and the
        numbers cannot depend on how many workers there are.
        """
        strategy = self._strategy
        replicas = max(len(strategy.extended.worker_devices), 1)

        def distributed(array: Any) -> Any:  # noqa: ANN401
            if not isinstance(array, np.ndarray):
                return array
            missing = -len(array) % replicas
            padded = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
            parts = np.split(padded, replicas)
            if replicas == 1:
                return tf.constant(parts[0])
            return strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(
                    parts[context.replica_id_in_sync_group % replicas]))

        result = strategy.run(function, args=[distributed(arg) for arg in args])
        if not gather:
            return result
        return tf.nest.map_structure(
            lambda value: np.concatenate(
                [part.numpy() for part in strategy.experimental_local_results(value)]),
            result)


# Boxes per image and pass; more are split, so that memory is bounded.
_SLOTS = 64


def _to_xywh(boxes: np.ndarray) -> np.ndarray:
    """[n, 4] as ymin, xmin, ymax, xmax -> x, y, width, height."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([low[:, ::-1], (high - low)[:, ::-1]], axis=1).astype(np.float64)


def _encode(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int
) -> list[dict[str, Any]]:
    """Pastes masks into their boxes [n, 4] (x, y, w, h) one by one and encodes them."""
    encoded = []
    for mask, box in zip(masks, boxes, strict=True):
        pasted = mask_ops.paste_instance_masks(mask[np.newaxis], box[np.newaxis], height, width)
        code = rle.encode(np.asfortranarray(pasted[0]))
        encoded.append({"size": list(code["size"]), "counts": code["counts"].decode("ascii")})
    return encoded
