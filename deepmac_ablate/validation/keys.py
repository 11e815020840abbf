"""By which bindings two configurations have the same model, or the same part of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.bindings.values import Reference

# The parameters of a model that only its mask branch depends on.
_OF_MASK_BRANCH = ("mask_head", "mask_inputs", "mask_boxes", "pad_to_all_slots")


class ModelKeys(NamedTuple):
    """Text that is equal where the bindings behind it are.

    Attributes:
        trunk: all that is not the mask branch.
        model: all of the model.
    """

    trunk: str
    model: str


def model_root(bound: Sequence[bindings.Binding]) -> str | None:
    """Returns the configurable that `Training.model` refers to, with its scope, if it does."""
    for binding in bindings.merge(bound).values():
        of_training = bindings.same_configurable(binding.selector, "Training")
        if of_training and (binding.scope, binding.parameter) == ("", "model"):
            value = binding.value
            return value.scoped_selector if isinstance(value, Reference) else None
    return None


def model_keys(bound: Sequence[bindings.Binding], root: str) -> ModelKeys:
    """Returns the keys of a model.

    Args:
        bound: What `bindings.read` returned.
        root: What `model_root` did.

    Raises:
        UserError: As `bindings.explicit_bindings`.
    """
    selector = root.rpartition("/")[2]
    of_trunk = [
        binding for binding in bound
        if binding.parameter not in _OF_MASK_BRANCH
        or not bindings.same_configurable(binding.selector, selector)
    ]
    return ModelKeys(*(
        json.dumps([root, bindings.explicit_bindings(some, root)]) for some in (of_trunk, bound)))
