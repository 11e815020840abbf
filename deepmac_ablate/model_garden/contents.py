"""What a model is made of, told from the shapes of its tensors: of ours, or of one in a file."""

from __future__ import annotations

from typing import Any

from deepmac_ablate.model_garden.trees import Tree, follow, shapes_below
from deepmac_ablate.modeling import hourglass

# Stages and blocks of the outermost one tell the depths of hourglasses apart.
_DEPTHS = {(shape.num_stages, shape.blocks[0]): depth for depth, shape in hourglass.SHAPES.items()}


def describe(tree: Tree, parts: dict[str, Any]) -> dict[str, str]:
    """Return what differs between configurations, in words.

    Args:
        tree: what can walk the parts.
        parts: a model's parts by the published code's names; one that is missing is not described.

    Returns:
        A phrase for each of "backbone", "decoder", "anchors", "classes", "mask head", "masks" and
        "crop", as far as there are tensors to tell it.
    """
    told = {
        "backbone": _convolutions(tree, parts.get("backbone")),
        "decoder": _decoder(tree, parts.get("decoder")),
        "anchors": _count(tree, parts.get("rpn_head"), "_classifier/bias", "{} at a position"),
        "classes": _classes(tree, parts.get("detection_head")),
        "mask head": _body(tree, parts.get("mask_head")),
        "masks": _masks(tree, parts.get("mask_head")),
        "up-sampling": _upsampling(tree, parts.get("mask_head")),
    }
    return {what: phrase for what, phrase in told.items() if phrase is not None}


def _convolutions(tree: Tree, part: Any) -> str | None:  # noqa: ANN401
    kernels = [shape for shape in shapes_below(tree, part) if len(shape) == 4] if _is(part) else []
    if not kernels:
        return None
    return f"{len(kernels)} convolutions of up to {max(k[-1] for k in kernels)} channels"


def _decoder(tree: Tree, part: Any) -> str | None:  # noqa: ANN401
    if not _is(part):
        return None
    kernels = [shape for shape in shapes_below(tree, part) if len(shape) == 4]
    return f"a pyramid of {kernels[0][-1]} channels" if kernels else "none"


def _classes(tree: Tree, part: Any) -> str | None:  # noqa: ANN401
    if not _is(part):
        return None
    one = follow(tree, part, "0")
    return _count(tree, part if one is None else one, "_classifier/bias", "{} with background")


def _body(tree: Tree, head: Any) -> str | None:  # noqa: ANN401
    kernel = _shape(tree, head, "_deconv/kernel")
    if kernel is None:
        return None
    width = f"of width {kernel[-2]}"
    body = follow(tree, head, "_hourglass/hourglass_network/0")
    if body is None:
        convs = follow(tree, head, "_convs")
        number = 0 if convs is None else len(tree.children(convs))
        whole = _shape(tree, head, "_mask_regressor/kernel") is not None
        return f"{number} {'' if whole else 'separable '}convolutions {width}"
    blocks, stages = len(tree.children(follow(tree, body, "encoder_block2"))), 1
    while (inner := follow(tree, body, "inner_block/0")) is not None and (
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
    node = follow(tree, part, path) if _is(part) else None
    return tree.shape(node) if _is(node) else None


def _is(node: Any) -> bool:  # noqa: ANN401
    """Whether there is a node; 0 is one."""
    return node is not None
