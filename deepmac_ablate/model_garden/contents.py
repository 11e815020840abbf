"""Description of a model, or of a checkpoint, from the shapes of its tensors."""

from __future__ import annotations

from typing import Any

from deepmac_ablate.errors import count_noun
from deepmac_ablate.model_garden.trees import Tree, find_part, shapes_below
from deepmac_ablate.modeling import hourglass

# Depths of hourglasses, by the number of stages and the blocks of the outermost stage.
_DEPTHS = {(shape.num_stages, shape.blocks[0]): depth for depth, shape in hourglass.SHAPES.items()}


def describe_parts(tree: Tree, parts: dict[str, Any]) -> dict[str, str]:
    """Describe those properties of a model in which configurations differ.

    Args:
        tree: Tree that the parts belong to.
        parts: Parts of a model by the names of the published code; missing ones are ignored.

    Returns:
        A phrase for each of "backbone", "decoder", "anchors", "classes", "mask head", "masks" and
        "up-sampling" that the tensors determine.
    """
    phrases = {
        "backbone": _convolutions(tree, parts.get("backbone")),
        "decoder": _decoder(tree, parts.get("decoder")),
        "anchors": _count(tree, parts.get("rpn_head"), "_classifier/bias", "{} per position"),
        "classes": _classes(tree, parts.get("detection_head")),
        "mask head": _body(tree, parts.get("mask_head")),
        "masks": _masks(tree, parts.get("mask_head")),
        "up-sampling": _upsampling(tree, parts.get("mask_head")),
    }
    return {name: phrase for name, phrase in phrases.items() if phrase is not None}


def _convolutions(tree: Tree, part: Any) -> str | None:  # noqa: ANN401
    kernels = [] if part is None else [
        shape for shape in shapes_below(tree, part) if len(shape) == 4]
    if not kernels:
        return None
    most = max(kernel[-1] for kernel in kernels)
    return f"{count_noun(len(kernels), 'convolution')} of up to {count_noun(most, 'channel')}"


def _decoder(tree: Tree, part: Any) -> str | None:  # noqa: ANN401
    if part is None:
        return None
    kernels = [shape for shape in shapes_below(tree, part) if len(shape) == 4]
    return f"a pyramid of {kernels[0][-1]} channels" if kernels else "none"


def _classes(tree: Tree, part: Any) -> str | None:  # noqa: ANN401
    if part is None:
        return None
    head = find_part(tree, part, "0")
    return _count(
        tree, part if head is None else head, "_classifier/bias", "{} including background")


def _body(tree: Tree, head: Any) -> str | None:  # noqa: ANN401
    kernel = _shape(tree, head, "_deconv/kernel")
    if kernel is None:
        return None
    width = f"of width {kernel[-2]}"
    body = find_part(tree, head, "_hourglass/hourglass_network/0")
    if body is None:
        convs = find_part(tree, head, "_convs")
        number = 0 if convs is None else len(tree.children(convs))
        separable = _shape(tree, head, "_mask_regressor/kernel") is None
        return f"{number} {'separable ' if separable else ''}convolutions {width}"
    blocks, stages = len(tree.children(find_part(tree, body, "encoder_block2"))), 1
    while (inner := find_part(tree, body, "inner_block/0")) is not None and (
            "encoder_block2" in tree.children(inner)):
        body, stages = inner, stages + 1
    depth = _DEPTHS.get((stages, blocks))
    return f"Hourglass-{depth} {width}" if depth else f"an hourglass of {stages} stages {width}"


def _masks(tree: Tree, head: Any) -> str | None:  # noqa: ANN401
    bias = _shape(tree, head, "_mask_regressor/bias")
    if bias is None:
        return None
    return "one for all classes" if bias == (1,) else f"one for each of {bias[0]} classes"


def _upsampling(tree: Tree, head: Any) -> str | None:  # noqa: ANN401
    kernel = _shape(tree, head, "_deconv/kernel")
    return None if kernel is None else f"by {kernel[0]}"


def _count(tree: Tree, part: Any, path: str, phrase: str) -> str | None:  # noqa: ANN401
    shape = _shape(tree, part, path)
    return None if shape is None else phrase.format(shape[0])


def _shape(tree: Tree, part: Any, path: str) -> tuple[int, ...] | None:  # noqa: ANN401
    node = None if part is None else find_part(tree, part, path)
    return None if node is None else tree.shape(node)
