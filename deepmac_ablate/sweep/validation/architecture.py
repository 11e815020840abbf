"""What a model is made of, found by drawing its graph: layers and variables, but no pictures.

The graph is drawn in two parts. The trunk (backbone, decoder and the box path) is the same in most
arms of an ablation, and takes longest; the mask branch is what they differ in. Both are drawn as
training runs them, for one image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from deepmac_ablate.data.training_data import TrainingData
from deepmac_ablate.modeling import checkpoints
from deepmac_ablate.modeling.detector import Regions
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.sweep.validation import multiply_adds

_GIGA = 1e9

Shape = tuple[int, ...]


class Trunk(NamedTuple):
    """Everything in front of and beside the mask branch.

    Attributes:
        features: shape of each level of the decoder, for one image.
        backbone_gmacs: 10^9 multiply-adds of backbone and decoder per image.
        box_gmacs: those of the region proposal network and of the box head per image.
        parts: the variables by the name of the part.
        pyramid: backbone and decoder.
    """

    features: Mapping[str, tf.TensorShape]
    backbone_gmacs: float
    box_gmacs: float
    parts: Mapping[str, Sequence[tf.Variable]]
    pyramid: tuple[tf_keras.Model, tf_keras.layers.Layer]


class MaskBranch(NamedTuple):
    """The mask head and its further inputs.

    Attributes:
        gmacs: 10^9 multiply-adds per box.
        boxes: boxes per image that it is trained in.
        variables: its variables.
    """

    gmacs: float
    boxes: int
    variables: Sequence[tf.Variable]


def draw_trunk(model: MaskRCNN) -> Trunk:
    """Draw backbone, decoder, region proposal network and box head of a new model."""
    shapes: dict[str, tf.TensorShape] = {}

    def features() -> None:
        images = _placeholder([1, *model.image_size, 3])
        shapes.update({level: it.shape for level, it in model.features(images).items()})

    def box_path() -> None:
        pyramid = _pyramid(shapes)
        model.rpn_head(pyramid, training=True)
        model.train_boxes(pyramid, _regions(model))

    with_decoder, with_boxes = _macs(features), _macs(box_path)
    named = checkpoints.named_parts(model)
    parts = {
        name: named[name].variables
        for name in ("backbone", "decoder", "rpn_head", "detection_head")
    }
    pyramid = model.backbone, model.decoder
    return Trunk(shapes, with_decoder / _GIGA, with_boxes / _GIGA, parts, pyramid)


def draw_mask_branch(
    model: MaskRCNN, features: Mapping[str, tf.TensorShape], data: TrainingData
) -> MaskBranch:
    """Draw the mask branch of a new model.

    Args:
        model: the model; its other parts need no variables.
        features: shape of each level of its decoder, for one image.
        data: what it is trained on, for the number of annotations and the size of their masks.
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


def size(variables: Sequence[tf.Variable]) -> int:
    """Return how many numbers there are in variables."""
    return sum(math.prod(variable.shape) for variable in variables)


def num_bytes(variables: Sequence[tf.Variable]) -> int:
    """Return how many bytes there are in variables."""
    return sum(math.prod(variable.shape) * variable.dtype.size for variable in variables)


def optimizer_bytes(optimizer: tf_keras.optimizers.Optimizer, shapes: Iterable[Shape]) -> int:
    """Count the bytes that an optimizer adds to a checkpoint.

    Args:
        optimizer: without its variables.
        shapes: of all variables that it moves.
    """
    moved = [tf.Variable(tf.zeros(shape)) for shape in shapes]
    optimizer.build(moved)
    theirs = {id(variable) for variable in moved}
    # `Optimizer.variables` would leave out the present learning rate.
    return num_bytes([
        one for one in tf.train.TrackableView(optimizer).descendants()
        if isinstance(one, tf.Variable) and id(one) not in theirs])


def _macs(draw: Callable[[], None]) -> int:
    """Count the multiply-adds of what a function draws; layers create their variables on the way.

    Keras draws its own models in such a graph, too: variables are created outside of it, once, and
    none of them is assigned to through a session as in a `tf.Graph`.
    """
    for convert in (False, True):
        # Rewriting each layer's Python takes longer than all the rest; few layers need it.
        drawing = draw if convert else tf.autograph.experimental.do_not_convert(draw)
        graph = tf.__internal__.FuncGraph("cost")
        try:
            with graph.as_default():
                drawing()
        except tf.errors.OperatorNotAllowedInGraphError:
            if convert:
                raise
        else:
            break
    return multiply_adds.count(graph)


def _pyramid(shapes: Mapping[str, tf.TensorShape]) -> dict[str, tf.Tensor]:
    return {level: _placeholder(shape) for level, shape in shapes.items()}


def _regions(model: MaskRCNN) -> Regions:
    number = model.regions_per_image
    return Regions(
        boxes=_placeholder([1, number, 4]),
        gt_boxes=_placeholder([1, number, 4]),
        gt_classes=_placeholder([1, number], tf.int32),
        gt_index=_placeholder([1, number], tf.int32))


def _placeholder(
    shape: Sequence[int] | tf.TensorShape, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    return tf.compat.v1.placeholder(dtype, shape)
