"""Functions of a SavedModel, with the inputs and outputs of Model Garden's exports.

Detection, for each of b images::

    image_tensor   inputs [b, h, w, 3] uint8, pixels of images of one size
    image_bytes    inputs [b] string, encoded images of any size
    tf_example     inputs [b] string, serialised examples with "image/encoded"
    ->  detection_boxes [b, k, 4] float32 (ymin, xmin, ymax, xmax), detection_classes [b, k] int32,
        detection_scores [b, k] float32, num_detections [b] int32, image_info [b, 4, 2] float32,
        detection_masks [b, k, m, m] float32, mask probabilities on a grid over the box

Segmentation of the objects in given boxes::

    image_and_boxes_tensor   images [b, h, w, 3] uint8, boxes [b, n, 4] float32 in units of the
                             image's size; a class-specific head also takes classes [b, n] int32
    ->  detection_masks [b, n, m, m] float32

Detected boxes are in pixels of the resized image, as in Model Garden. Divided by row 2 of
`image_info` (the scale), they are in pixels of the original image.

Classes are the ids of the dataset. Where these are not the numbers in the model (see
`dataset_info.number_classes`), a number that stands for no class becomes -1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import tensorflow as tf

from deepmac_ablate.data import model_input
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.autograph import is_own
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.serving import InputType

_Outputs = dict[str, tf.Tensor]
_MOST_POSITIVE_INT32 = 2**31 - 1


def trace_signature(
    model: MaskRCNN,
    kind: InputType,
    batch_size: int | None,
    normalized: bool,
    labels: Mapping[int, int] | None = None,
) -> tf.types.experimental.ConcreteFunction:
    """Trace the function for one input type.

    Args:
        model: Model whose variables exist.
        kind: Input type.
        batch_size: Number of images; None allows any number.
        normalized: True gives detected boxes in units of the image's size, clipped to [0, 1],
            instead of pixels of the resized image.
        labels: Numbers of the classes in the model by id; None or empty if they are the ids.

    Raises:
        UserError: If an id does not fit into 32 bits, which the outputs have in Model Garden.
    """
    if labels and max(map(abs, labels)) > _MOST_POSITIVE_INT32:
        raise UserError(
            f"Class id {max(labels, key=abs)} does not fit into the 32 bits of an export's class "
            "ids; give the classes smaller ids, and convert the dataset again.")
    function = functools.partial(tf.function, autograph=is_own(model))
    images = tf.TensorSpec([batch_size, None, None, 3], tf.uint8)
    strings = tf.TensorSpec([batch_size], tf.string)
    if kind == "image_and_boxes_tensor":
        boxes = tf.TensorSpec([batch_size, None, 4], tf.float32)
        classes = tf.TensorSpec([batch_size, None], tf.int32)
        if model.mask_head.class_agnostic:
            return function(_make_segmenter(model)).get_concrete_function(images, boxes)
        return function(_make_class_segmenter(model, labels)).get_concrete_function(
            images, boxes, classes)
    read, spec = {
        "image_tensor": (lambda pixels: pixels, images),
        "image_bytes": (_decode, strings),
        "tf_example": (_decode_example, strings),
    }[kind]

    def detect(inputs: tf.Tensor) -> _Outputs:
        found = _detect(model, inputs, read, normalized)
        if labels:
            found["detection_classes"] = _translate(
                found["detection_classes"], {label: i for i, label in labels.items()}, -1)
        return found

    return function(detect).get_concrete_function(spec)


def _detect(
    model: MaskRCNN,
    inputs: tf.Tensor,
    read: Callable[[tf.Tensor], tf.Tensor],
    normalized: bool,
) -> _Outputs:
    images, info = _prepare(model, inputs, read)
    found = model(images, info[:, 1], training=False)
    boxes = found["boxes"]
    if normalized:
        boxes = tf.clip_by_value(boxes / _resized_extent(info), 0.0, 1.0)
    return {
        "detection_boxes": boxes,
        "detection_classes": found["classes"],
        "detection_scores": found["scores"],
        "num_detections": found["num_detections"],
        "detection_masks": found["masks"],
        "image_info": info,
    }


def _make_segmenter(model: MaskRCNN) -> Callable[[tf.Tensor, tf.Tensor], _Outputs]:
    segment_classes = _make_class_segmenter(model)

    def segment(images: tf.Tensor, boxes: tf.Tensor) -> _Outputs:
        return segment_classes(images, boxes, tf.zeros(tf.shape(boxes)[:2], tf.int32))

    return segment


def _make_class_segmenter(
    model: MaskRCNN, labels: Mapping[int, int] | None = None
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], _Outputs]:
    size = model.mask_head.mask_size

    def segment(images: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor) -> _Outputs:
        prepared, info = _prepare(model, images, lambda pixels: pixels)
        batch, number = tf.unstack(tf.shape(boxes)[:2])
        if labels:
            classes = _translate(classes, labels, 0)
        masks = model.predict_masks(
            model.features(prepared),
            tf.reshape(boxes * _resized_extent(info), [-1, 4]),
            tf.repeat(tf.range(batch), number),
            tf.reshape(classes, [-1]))
        masks = tf.reshape(masks, [batch, number, size, size])
        return {"detection_masks": tf.ensure_shape(masks, [*boxes.shape[:2], size, size])}

    return segment


def _translate(classes: tf.Tensor, table: Mapping[int, int], default: int) -> tf.Tensor:
    """Look up int32 numbers in a table of a few thousand; others become `default`."""
    known = tf.constant(list(table), tf.int32)
    found = tf.equal(classes[..., tf.newaxis], known)
    values = tf.gather(tf.constant(list(table.values()), tf.int32), tf.argmax(found, axis=-1))
    return tf.where(tf.reduce_any(found, axis=-1), values, default)


def _prepare(
    model: MaskRCNN, inputs: tf.Tensor, read: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Read and resize the images one by one, as they may differ in size."""
    return tf.map_fn(
        lambda image: model_input.prepare_image(read(image), model.image_size),
        inputs,
        fn_output_signature=(
            tf.TensorSpec([*model.image_size, 3], tf.float32),
            tf.TensorSpec([4, 2], tf.float32)))


def _resized_extent(info: tf.Tensor) -> tf.Tensor:
    """Return [b, 1, 4], the sizes of the images after resizing, for y, x, y, x."""
    return tf.tile(info[:, tf.newaxis, 0] * info[:, tf.newaxis, 2], [1, 1, 2])


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    # Only the first frame of an animation.
    return tf.ensure_shape(
        tf.io.decode_image(encoded, channels=3, expand_animations=False), [None, None, 3])


def _decode_example(serialized: tf.Tensor) -> tf.Tensor:
    features = {"image/encoded": tf.io.FixedLenFeature((), tf.string)}
    return _decode(tf.io.parse_single_example(serialized, features)["image/encoded"])
