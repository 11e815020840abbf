"""Which tensor of a published checkpoint belongs to which variable of ours: all of them, or none.

Objects are paired as TensorFlow pairs them when it restores: parts of the same name in paired
objects are a pair. What TensorFlow passes over in silence is an error here.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from deepmac_ablate.errors import UserError
from deepmac_ablate.model_garden import PARTS
from deepmac_ablate.model_garden.contents import describe
from deepmac_ablate.model_garden.layout import published_names
from deepmac_ablate.model_garden.trees import CheckpointTree, ModelTree, shapes_below
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN

# What a checkpoint holds besides the model, by the names of its tensors.
LEFT_OUT = {
    "optimizer": re.compile(r"^optimizer/|/\.OPTIMIZER_SLOT/"),
    "step": re.compile(r"^global_step/"),
    "save_counter": re.compile(r"^save_counter/"),
}

_SHOWN = 3


class Match(NamedTuple):
    """What a checkpoint holds for a model.

    Attributes:
        assignments: each variable of the wanted parts with the name of its tensor.
        left_out: the number of the other tensors, by kind.
    """

    assignments: list[tuple[tf.Variable, str]]
    left_out: dict[str, int]


def match(checkpoint: CheckpointTree, model: MaskRCNN, parts: Sequence[str]) -> Match:
    """Find the tensor of every variable.

    Args:
        checkpoint: one that the published code wrote.
        model: a model whose variables exist.
        parts: the parts of the model to find; tensors of the others are left out.

    Raises:
        UserError: unless each variable has one tensor of its shape, and each tensor is a
            variable's or of a kind that is left out on purpose.
    """
    stored = stored_parts(checkpoint)
    ours = {name: part for name, part in published_names(model).items() if name in parts}
    wanted = {id(v): v for name in ours for v in getattr(model, name).variables}
    tensors: dict[int, str] = {}
    for name in ours.keys() & stored.keys():
        tensors |= _pair(checkpoint, ours[name], stored[name])
    unused = sorted(set(checkpoint.tensors()) - set(tensors.values()))
    kinds = _kinds(checkpoint, unused, [stored[n] for n in stored if n not in parts])
    shapes = {name: checkpoint.shape_of(name) for name in tensors.values()}
    problems = [
        *_some("the model's {} missing there", [
            variable.name for key, variable in wanted.items() if key not in tensors]),
        *_some("{} there without a place in the model", [
            _short(name) for name in unused if name not in kinds]),
        *_some("{} there of another shape", [
            f"{_short(name)} {_by(shapes[name])} instead of {_by(wanted[key].shape)}"
            for key, name in sorted(tensors.items(), key=operator.itemgetter(1))
            if shapes[name] != tuple(wanted[key].shape)]),
    ]
    if problems:
        raise UserError(
            f"The checkpoint {checkpoint.path} does not fit the model: "
            + "; ".join([*_differences(checkpoint, stored, ours), *problems]) + ".")
    return Match(
        [(variable, tensors[key]) for key, variable in wanted.items()],
        dict(Counter(kinds.values())))


def stored_parts(checkpoint: CheckpointTree) -> dict[str, int]:
    """Return the nodes of the model's parts that have tensors.

    A trainer keeps them at the root and below "model", other writers only there.

    Raises:
        UserError: if there is no mask head, so that it is no checkpoint of the kind.
    """
    root = checkpoint.children(0)
    holder = root if "mask_head" in root else checkpoint.children(root.get("model", 0))
    stored = {
        name: holder[name] for name in PARTS
        if name in holder and any(True for _ in shapes_below(checkpoint, holder[name]))}
    if "mask_head" not in stored:
        raise UserError(
            f"The checkpoint {checkpoint.path} holds no mask head, so it is none of Model Garden's "
            f"Mask R-CNN; it holds {', '.join(sorted(root)) or 'nothing'}.")
    return stored


def _pair(checkpoint: CheckpointTree, ours: Any, stored: int) -> dict[int, str]:  # noqa: ANN401
    """Return the tensors of the variables below an object, by the variable's id."""
    tree, tensors = ModelTree(), {}
    seen, waiting = set(), [(ours, stored)]
    while waiting:
        ours, stored = waiting.pop()
        if stored in seen:
            continue
        seen.add(stored)
        name = checkpoint.tensor(stored)
        if tree.shape(ours) is not None and name is not None:
            # A second tensor of one variable stays unused, and is reported as such.
            tensors.setdefault(id(ours), name)
        parts = checkpoint.children(stored)
        waiting += [
            (part, parts[name]) for name, part in tree.children(ours).items() if name in parts]
    return tensors


def _kinds(
    checkpoint: CheckpointTree, unused: Sequence[str], unwanted: Sequence[int]
) -> dict[str, str]:
    """Return why tensors are left out, for those of which it is known."""
    elsewhere = {name for part in unwanted for name in checkpoint.tensors_below(part)}
    kinds = {name: "other parts" for name in unused if name in elsewhere}
    for kind, pattern in LEFT_OUT.items():
        kinds |= {name: kind for name in unused if pattern.search(name)}
    return kinds


def _differences(
    checkpoint: CheckpointTree, stored: dict[str, int], ours: dict[str, Any]
) -> list[str]:
    """Say in which of the things that a configuration decides the two differ."""
    there = describe(checkpoint, {name: node for name, node in stored.items() if name in ours})
    here = describe(ModelTree(), ours)
    absent = [name for name in ours if name not in stored and here.get(name) != "none"]
    # Such is a model that was exported to segment given boxes.
    advice = " (import the others: --parts backbone decoder mask_head)"
    without_detector = absent == ["rpn_head", "detection_head"]
    return [
        *([f"it holds no {', '.join(absent)}{advice if without_detector else ''}"]
          if absent else []),
        *(f"its {what}: {there[what]}, the model's: {here[what]}"
          for what in there if what in here and there[what] != here[what]),
    ]


def _some(phrase: str, names: Sequence[str]) -> list[str]:
    """Put the number of names and the first few into a phrase; none where there is no name."""
    if not names:
        return []
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    number = f"{len(names)} variable{'s' if len(names) > 1 else ''}"
    return [f"{phrase.format(number)} ({shown})"]


def _short(name: str) -> str:
    return name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
