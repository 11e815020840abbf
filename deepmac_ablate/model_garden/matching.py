"""Matching of the tensors of a published checkpoint with the variables of our model.

Objects are paired as in TensorFlow's restore: parts of the same name in paired objects are a pair.
Mismatches that TensorFlow ignores silently are errors here.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.model_garden import PARTS
from deepmac_ablate.model_garden.contents import describe_parts
from deepmac_ablate.model_garden.layout import published_names
from deepmac_ablate.model_garden.trees import CheckpointTree, ModelTree, shapes_below
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN

# Tensors of a checkpoint that do not belong to the model, by patterns of their names.
LEFT_OUT = {
    "optimizer": re.compile(r"^optimizer/|/\.OPTIMIZER_SLOT/"),
    "step": re.compile(r"^global_step/"),
    "save_counter": re.compile(r"^save_counter/"),
}

# Number of variables that a message names.
_MAX_NAMES = 3


class CheckpointMatch(NamedTuple):
    """Match of a checkpoint with a model.

    Attributes:
        assignments: Variables of the requested parts, each with the name of its tensor.
        left_out: Number of the other tensors, by kind.
    """

    assignments: list[tuple[tf.Variable, str]]
    left_out: dict[str, int]


def match_checkpoint(
    checkpoint: CheckpointTree, model: MaskRCNN, parts: Sequence[str]
) -> CheckpointMatch:
    """Find the tensor of every variable.

    Args:
        checkpoint: Checkpoint of the published code.
        model: Model whose variables exist.
        parts: Parts of the model to match; tensors of other parts are left out.

    Raises:
        UserError: If a variable has no tensor of its shape, or a tensor belongs neither to a
            variable nor to a kind that is left out on purpose.
    """
    stored = stored_parts(checkpoint)
    ours = {name: part for name, part in published_names(model).items() if name in parts}
    wanted = {id(v): v for name in ours for v in getattr(model, name).variables}
    tensors: dict[int, str] = {}
    for name in ours.keys() & stored.keys():
        tensors |= _match_part(checkpoint, ours[name], stored[name])
    unused = sorted(set(checkpoint.tensor_names()) - set(tensors.values()))
    kinds = _left_out_kinds(checkpoint, unused, [stored[n] for n in stored if n not in parts])
    shapes = {name: checkpoint.tensor_shape(name) for name in tensors.values()}
    problems = [
        *_count_names("{} of the model missing in the checkpoint", [
            variable.name for key, variable in wanted.items() if key not in tensors]),
        *_count_names("{} of the checkpoint without a counterpart in the model", [
            _short_name(name) for name in unused if name not in kinds]),
        *_count_names("{} with a different shape in the checkpoint", [
            f"{_short_name(name)} {_format_shape(shapes[name])} instead of "
            f"{_format_shape(wanted[key].shape)}"
            for key, name in sorted(tensors.items(), key=operator.itemgetter(1))
            if shapes[name] != tuple(wanted[key].shape)]),
    ]
    if problems:
        raise UserError(
            f"The checkpoint {checkpoint.path} does not fit the model: "
            + "; ".join([*_describe_differences(checkpoint, stored, ours), *problems]) + ".")
    return CheckpointMatch(
        [(variable, tensors[key]) for key, variable in wanted.items()],
        dict(Counter(kinds.values())))


def stored_parts(checkpoint: CheckpointTree) -> dict[str, int]:
    """Return the nodes of those parts of a model that have tensors.

    They are at the root or below "model", depending on what wrote the checkpoint.

    Raises:
        UserError: If there is no mask head.
    """
    root = checkpoint.children(0)
    holder = root if "mask_head" in root else checkpoint.children(root.get("model", 0))
    stored = {
        name: holder[name] for name in PARTS
        if name in holder and any(True for _ in shapes_below(checkpoint, holder[name]))}
    if "mask_head" not in stored:
        raise UserError(
            f"The checkpoint {checkpoint.path} has no mask head, so it is not a Mask R-CNN of "
            f"Model Garden; it has {', '.join(sorted(root)) or 'nothing'}.")
    return stored


def _match_part(checkpoint: CheckpointTree, ours: Any, stored: int) -> dict[int, str]:  # noqa: ANN401
    """Return the names of the tensors of all variables below an object, by `id` of the variable."""
    tree, tensors = ModelTree(), {}
    seen, waiting = set(), [(ours, stored)]
    while waiting:
        ours, stored = waiting.pop()
        if stored in seen:
            continue
        seen.add(stored)
        name = checkpoint.tensor_name(stored)
        if tree.shape(ours) is not None and name is not None:
            # A second tensor for the same variable stays unused and is reported.
            tensors.setdefault(id(ours), name)
        parts = checkpoint.children(stored)
        waiting += [
            (part, parts[name]) for name, part in tree.children(ours).items() if name in parts]
    return tensors


def _left_out_kinds(
    checkpoint: CheckpointTree, unused: Sequence[str], unwanted: Sequence[int]
) -> dict[str, str]:
    """Return the kind of those unused tensors that are left out on purpose, by name."""
    elsewhere = {name for part in unwanted for name in checkpoint.tensor_names_below(part)}
    kinds = {name: "other parts" for name in unused if name in elsewhere}
    for kind, pattern in LEFT_OUT.items():
        kinds |= {name: kind for name in unused if pattern.search(name)}
    return kinds


def _describe_differences(
    checkpoint: CheckpointTree, stored: dict[str, int], ours: dict[str, Any]
) -> list[str]:
    """Describe the configured properties in which the checkpoint and the model differ."""
    there = describe_parts(
        checkpoint, {name: node for name, node in stored.items() if name in ours})
    here = describe_parts(ModelTree(), ours)
    absent = [name for name in ours if name not in stored and here.get(name) != "none"]
    # A model that was exported to segment given boxes has no detector.
    advice = " (import the other parts with --parts backbone decoder mask_head)"
    without_detector = absent == ["rpn_head", "detection_head"]
    return [
        *([f"it has no {', '.join(absent)}{advice if without_detector else ''}"]
          if absent else []),
        *(f"{name}: {there[name]} in the checkpoint, {here[name]} in the model"
          for name in there if name in here and there[name] != here[name]),
    ]


def _count_names(phrase: str, names: Sequence[str]) -> list[str]:
    """Insert the number of names into a phrase and append the first few; empty without names."""
    if not names:
        return []
    shown = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
    number = count_noun(len(names), "variable")
    return [f"{phrase.format(number)} ({shown})"]


def _short_name(name: str) -> str:
    return name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")


def _format_shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
