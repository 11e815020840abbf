"""Text that is equal for two configurations with the same model, or the same part of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.bindings.values import Reference
from deepmac_ablate.errors import UserError

# The parameters of a model that only its mask branch depends on.
_OF_MASK_BRANCH = ("mask_head", "mask_inputs", "mask_boxes", "pad_to_all_slots")


class ModelKeys(NamedTuple):
    """Keys of a model; empty where the configuration has none.

    Attributes:
        trunk: all that is not the mask branch.
        model: all of the model.
    """

    trunk: str = ""
    model: str = ""


def model_keys(bound: Sequence[bindings.Binding]) -> ModelKeys:
    """Return the keys of the model that `Training.model` refers to.

    Args:
        bound: What `bindings.read` returned; checked or not.
    """
    try:
        expanded = bindings.expanded_bindings(bound)
        root = next((
            binding.value.scoped_selector for binding in expanded
            if isinstance(binding.value, Reference) and _is_parameter(binding, "Training", "model")
        ), None)
        if root is None:
            return ModelKeys()
        selector = root.rpartition("/")[2]
        trunk = [it for it in expanded if not _is_parameter(it, selector, *_OF_MASK_BRANCH)]
        return ModelKeys(*(
            json.dumps([root, bindings.explicit_bindings(some, root)])
            for some in (trunk, expanded)))
    except UserError:
        # The judge will say what is wrong.
        return ModelKeys()


def _is_parameter(binding: bindings.Binding, selector: str, *parameters: str) -> bool:
    return binding.parameter in parameters and bindings.same_configurable(
        binding.selector, selector)
