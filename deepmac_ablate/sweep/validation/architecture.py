"""Variables and multiply-adds of a model, from tracing its graph without running it.

The graph is traced in two parts. The trunk (backbone, decoder and the detector) is the same in most
arms of an ablation and takes longest to trace; the mask branch is where they differ. Both are
traced as in training, for one image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.modeling import checkpoints
from deepmac_ablate.modeling.detectors import Regions
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.sweep.validation import multiply_adds

_GIGA = 1e9

Shape = tuple[int, ...]


class Trunk(NamedTuple):
    """Everything in a model except the mask branch.

    Attributes:
        features: The shape of each level of the decoder, for one image.
        backbone_gmacs: 10^9 multiply-adds of backbone and decoder, per image.
        box_gmacs: 10^9 multiply-adds of the detector in training, per image.
        parts: The variables by the name of the part.
        pyramid: The backbone and the decoder.
    """

    features: Mapping[str, tf.TensorShape]
    backbone_gmacs: float
    box_gmacs: float
    parts: Mapping[str, Sequence[tf.Variable]]
    pyramid: tuple[tf_keras.Model, tf_keras.layers.Layer]


class MaskBranch(NamedTuple):
    """The mask head and its additional inputs.

    Attributes:
        gmacs: 10^9 multiply-adds per box.
        boxes: The number of boxes per image in training.
        variables: The variables of the branch.
    """

    gmacs: float
    boxes: int
    variables: Sequence[tf.Variable]


def trace_trunk(model: MaskRCNN) -> Trunk:
    """Trace backbone, decoder and detector of a new model."""
    shapes: dict[str, tf.TensorShape] = {}

    def features() -> None:
        images = _placeholder([1, *model.image_size, 3])
        shapes.update(
            {level: features.shape for level, features in model.features(images).items()})

    def detector() -> None:
        model.detector.run_layers(_pyramid(shapes), training=True)

    with_decoder, with_boxes = _macs(features), _macs(detector)
    named = checkpoints.named_parts(model)
    parts = {
        name: named[name].variables for name in ("backbone", "decoder", *model.detector.parts)}
    pyramid = model.backbone, model.decoder
    return Trunk(shapes, with_decoder / _GIGA, with_boxes / _GIGA, parts, pyramid)


def trace_mask_branch(
    model: MaskRCNN, features: Mapping[str, tf.TensorShape], data: TrainingData
) -> MaskBranch:
    """Trace the mask branch of a new model.

    Args:
        model: The model; its other parts need no variables.
        features: The shape of each level of its decoder, for one image.
        data: The training data, for the number of annotations and the size of their masks.
    """
    slots: list[int] = []

    def branch() -> None:
        number, side = data.max_instances, data.mask_crop_size
        labels = {
            "gt_boxes": _placeholder([1, number, 4]),
            "gt_classes": _placeholder([1, number], tf.int32),
            "gt_masks": _placeholder([1, number, side, side]),
            "gt_has_mask": _placeholder([1, number], tf.bool),
        }
        outputs = model.train_masks(
            _pyramid(features), _regions(model), labels, tf.constant([0, 0]))
        slots.append(outputs["mask_outputs"].shape[0])

    macs = _macs(branch)
    parts: list[tf_keras.layers.Layer] = [model.mask_head, *model.mask_inputs]
    variables = [variable for part in parts for variable in part.variables]
    return MaskBranch(macs / slots[0] / _GIGA, slots[0], variables)


def num_values(variables: Sequence[tf.Variable]) -> int:
    """Return the number of values in variables."""
    return sum(math.prod(variable.shape) for variable in variables)


def num_bytes(variables: Sequence[tf.Variable]) -> int:
    """Return the number of bytes in variables."""
    return sum(math.prod(variable.shape) * variable.dtype.size for variable in variables)


def optimizer_bytes(optimizer: tf_keras.optimizers.Optimizer, shapes: Iterable[Shape]) -> int:
    """Return the number of bytes that an optimizer adds to a checkpoint.

    Args:
        optimizer: The optimizer, before it has variables.
        shapes: The shapes of all variables that it trains.
    """
    trained = [tf.Variable(tf.zeros(shape)) for shape in shapes]
    optimizer.build(trained)
    excluded = {id(variable) for variable in trained}
    # `Optimizer.variables` lacks the current learning rate.
    return num_bytes([
        trackable for trackable in tf.train.TrackableView(optimizer).descendants()
        if isinstance(trackable, tf.Variable) and id(trackable) not in excluded])


def _macs(call: Callable[[], None]) -> int:
    """Return the multiply-adds of the layers that a function calls; they create their variables.

    Keras builds its own models in such a graph, too: variables are created outside of it, once, and
    none is assigned through a session as in a `tf.Graph`.
    """
    for convert in (False, True):
        # Converting each layer with AutoGraph takes longest of all, and few layers need it.
        traced = call if convert else tf.autograph.experimental.do_not_convert(call)
        graph = tf.__internal__.FuncGraph("cost")
        try:
            with graph.as_default():
                traced()
        except tf.errors.OperatorNotAllowedInGraphError:
            if convert:
                raise
        else:
            break
    return multiply_adds.count_multiply_adds(graph)


def _pyramid(shapes: Mapping[str, tf.TensorShape]) -> dict[str, tf.Tensor]:
    return {level: _placeholder(shape) for level, shape in shapes.items()}


def _regions(model: MaskRCNN) -> Regions | None:
    number = model.detector.regions_per_image
    return None if not number else Regions(
        boxes=_placeholder([1, number, 4]),
        gt_boxes=_placeholder([1, number, 4]),
        gt_classes=_placeholder([1, number], tf.int32),
        gt_index=_placeholder([1, number], tf.int32))


def _placeholder(
    shape: Sequence[int] | tf.TensorShape, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    return tf.compat.v1.placeholder(dtype, shape)
