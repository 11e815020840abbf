"""By which bindings two configurations have the same model, or the same part of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.bindings.values import Reference

# The parameters of a model that only its mask branch depends on.
_OF_MASK_BRANCH = ("mask_head", "mask_inputs", "mask_boxes", "pad_to_all_slots")

# The parameters of `Training` that it does not call before it is on its devices.
_MADE_LATER = ("model", "optimizer")


class ModelKeys(NamedTuple):
    """Text that is equal where the bindings behind it are.

    Attributes:
        trunk: all that is not the mask branch.
        model: all of the model.
    """

    trunk: str
    model: str


def made_root(bound: Iterable[bindings.Binding], parameter: str) -> str | None:
    """Returns the configurable that a parameter of `Training` refers to, with its scope, if any.

    Args:
        bound: What `bindings.read` returned.
        parameter: "model" or "optimizer": what training makes later, on its devices.

    Raises:
        UserError: As `bindings.explicit_bindings`.
    """
    for binding in bindings.expanded(bound):
        if not binding.scope and _is_of_training(binding, parameter):
            value = binding.value
            return value.scoped_selector if isinstance(value, Reference) else None
    return None


def behind_training(text: bindings.Text) -> tuple[str, ...]:
    """Returns the names of what `Training` itself is made of, its model and optimizer left out."""
    own = tuple(it for it in text.bindings if not _is_of_training(it, *_MADE_LATER))
    return bindings.behind(text._replace(bindings=own), "Training")


def _is_of_training(binding: bindings.Binding, *parameters: str) -> bool:
    return binding.parameter in parameters and bindings.same_configurable(
        binding.selector, "Training")


def model_keys(bound: Sequence[bindings.Binding], root: str) -> ModelKeys:
    """Returns the keys of a model.

    Args:
        bound: What `bindings.read` returned.
        root: What `made_root` did of its model.

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
